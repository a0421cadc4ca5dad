package holt

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/holtvm/holt/internal/hypervisor"
)

// Validate reports every problem of c in one joined error, each a [*FieldError],
// or nil. It needs no backend: it looks at the values and at the host files
// they name, and changes nothing.
func (c Config) Validate() error {
	return errors.Join(c.problems()...)
}

func (c Config) problems() []error {
	var p problems
	c.validateMachine(&p)
	c.validateRoot(&p)
	c.validateDisks(&p)
	c.validateMappedDirs(&p)
	c.validateProgram(&p)
	c.validateRlimits(&p)
	c.validateNetwork(&p)
	c.validateOutput(&p)
	return p
}

// problems is the list that the rules below add to.
type problems []error

func (p *problems) add(field, value, problem string) {
	*p = append(*p, &FieldError{Field: field, Value: value, Problem: problem})
}

// addText adds err as the problem of a string; a nil err is none.
func (p *problems) addText(field, value string, err error) {
	if err != nil {
		*p = append(*p, badText(field, value, err))
	}
}

func (c Config) validateMachine(p *problems) {
	if c.VCPUCount == 0 {
		p.add("vcpu_count", "0", "must be at least 1")
	}
	if c.MemoryMB < MinMemoryMB {
		p.add("memory_mb", fmt.Sprint(c.MemoryMB), fmt.Sprintf("must be at least %d (MiB)", MinMemoryMB))
	}
	if c.CPUTemplate != "" && !slices.Contains(hypervisor.CPUTemplates(), c.CPUTemplate) {
		p.add("cpu_template", strconv.Quote(c.CPUTemplate), "must be absent or one of "+strings.Join(hypervisor.CPUTemplates(), ", "))
	}
	if _, err := c.MemoryBytes(); err != nil {
		*p = append(*p, err)
	}
	if c.CPUQuotaUS != nil && *c.CPUQuotaUS < MinCPUQuotaUS {
		p.add("cpu_quota_us", fmt.Sprint(*c.CPUQuotaUS), fmt.Sprintf("must be at least %d (µs in each 100 ms)", MinCPUQuotaUS))
	}
	if c.KernelPath != "" {
		p.addText("kernel_path", c.KernelPath, checkRegularFile(c.KernelPath))
	}
}

func (c Config) validateRoot(p *problems) {
	roots := []struct{ field, value string }{
		{"root_path", c.RootPath}, {"rootfs_path", c.RootfsPath}, {"root_disk", c.RootDisk.Path},
	}
	first := ""
	for _, root := range roots {
		switch {
		case root.value == "":
		case first == "":
			first = root.field
		default:
			p.add(root.field, strconv.Quote(root.value), fmt.Sprintf("must not be set together with %s; exactly one is the root", first))
		}
	}
	if first == "" {
		p.add("root_path", "", "must be set, or rootfs_path or root_disk instead: the guest needs a root filesystem")
	}
	if c.RootPath != "" {
		p.addText("root_path", c.RootPath, checkDirectory(c.RootPath))
	}
	if c.RootfsPath != "" {
		p.addText("rootfs_path", c.RootfsPath, checkArchive(c.RootfsPath))
	}
	if c.RootOverlay && c.RootPath == "" && c.RootDisk == (Disk{}) {
		p.add("root_overlay", "true", "must be used with root_path or root_disk; a rootfs_path root is in guest memory anyway")
	}
}

func (c Config) validateDisks(p *problems) {
	if len(c.Disks) > maxDisks {
		p.add("disks", fmt.Sprint(len(c.Disks)), fmt.Sprintf("must be at most %d", maxDisks))
	}
	if c.RootDisk != (Disk{}) {
		disk := c.RootDisk
		disk.ReadOnly = disk.ReadOnly || c.RootOverlay // which is all that is written then
		p.addText("root_disk", c.RootDisk.String(), checkDisk(disk))
	}
	for _, disk := range c.Disks {
		p.addText("disks", disk.String(), checkDisk(disk))
	}
}

// maxDisks is how many further disks a guest may have. Each takes an interrupt
// line or a PCI slot.
const maxDisks = 16

func checkDisk(d Disk) error {
	if err := d.check(); err != nil {
		return err
	}
	return checkImage(d.Path, d.ReadOnly)
}

func (c Config) validateMappedDirs(p *problems) {
	seen := make(map[string]bool)
	for _, pair := range c.MappedDirs {
		if err := pair.check(); err != nil {
			p.addText("mapped_dirs", pair.String(), err)
			continue
		}
		if err := checkDirectory(pair.Host); err != nil {
			p.addText("mapped_dirs", pair.String(), fmt.Errorf("host path %w", err))
		}
		if seen[pair.Guest] {
			p.add("mapped_dirs", strconv.Quote(pair.String()), fmt.Sprintf("guest path %q must be used only once", pair.Guest))
		}
		seen[pair.Guest] = true
	}
}

func (c Config) validateProgram(p *problems) {
	if c.ExecPath == "" {
		p.add("exec_path", "", "must be set to the program to run: an absolute path, or a name to look up in the guest's PATH")
	}
	p.addText("exec_path", c.ExecPath, checkNUL(c.ExecPath))
	for _, arg := range c.Args {
		p.addText("args", arg, checkNUL(arg))
	}
	for _, pair := range c.Env {
		p.addText("env", pair.String(), pair.check())
	}
	if c.WorkdirPath != "" && !path.IsAbs(c.WorkdirPath) {
		p.add("workdir_path", strconv.Quote(c.WorkdirPath), "must be an absolute path in the guest")
	}
	p.addText("workdir_path", c.WorkdirPath, checkNUL(c.WorkdirPath))
}

func (c Config) validateRlimits(p *problems) {
	seen := make(map[RlimitResource]bool)
	for _, limit := range c.Rlimits {
		if err := limit.check(); err != nil {
			p.addText("rlimits", limit.String(), err)
			continue
		}
		if seen[limit.Resource] {
			p.add("rlimits", strconv.Quote(limit.String()), fmt.Sprintf("%v must be limited only once", limit.Resource))
		}
		seen[limit.Resource] = true
	}
}

func (c Config) validateOutput(p *problems) {
	if c.ConsoleOutput != "" {
		p.addText("console_output", c.ConsoleOutput, checkOutputFile(c.ConsoleOutput))
	}
	if c.LogLevel > LogTrace {
		p.add("log_level", fmt.Sprint(uint8(c.LogLevel)), errLogLevel.Error())
	}
}

func checkNUL(s string) error {
	if strings.ContainsRune(s, 0) {
		return errNUL
	}
	return nil
}
