package holt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/monitor"
	"github.com/holtvm/holt/internal/tempfile"
)

// origin is what VMs go on from: a saved VM in open files. Any number of VMs may be
// started from one.
type origin struct {
	spec    monitor.Origin
	files   *monitor.OriginFiles
	config  Config
	launch  launch // how the saved VM was run
	program bool   // its main program runs
	close   func() // releases the files; once
	discard func() // removes them: no VM goes on from them. nil if that is the user's to do
}

// newOrigin makes an origin of open files, which it closes in the end.
func newOrigin(config Config, how json.RawMessage, program bool, files *monitor.OriginFiles, disks []string) (*origin, error) {
	o := &origin{
		spec:    monitor.Origin{Layers: len(files.Memory), Disks: disks, WorkingSet: files.WorkingSet != nil},
		files:   files,
		config:  config,
		program: program,
		close:   sync.OnceFunc(files.Close),
	}
	if err := json.Unmarshal(how, &o.launch); err != nil {
		return nil, fmt.Errorf("read how the saved VM was run: %w", err)
	}
	return o, nil
}

// runsFile puts runs of pages into a file, as a monitor takes them.
func runsFile(runs []guestmem.Run) (*os.File, error) {
	return tempfile.InMemory("pages", guestmem.EncodeRuns(runs))
}

// vm returns a VM that goes on from o when it is started. The options may replace what
// the saved VM had of the host.
func (o *origin) vm(opts []Option) (*VM, error) {
	set, err := collect(opts)
	if err == nil {
		err = set.findBinary()
	}
	if err != nil {
		return nil, err
	}
	cfg, spec, files, err := o.replace(set)
	if err != nil {
		return nil, err
	}
	if err := cfg.withoutSaved(spec.Disks).Validate(); err != nil {
		return nil, err
	}
	if set.imported = o.launch.Imported; set.imported && set.keep {
		return nil, errors.New("the VM went on from an imported snapshot, and its copies would use files of this host that whoever made that chose when they are started again: restore the snapshot with -d, which says which files, and copy that VM")
	}
	set.stdin, set.backend = o.launch.Stdin, hypervisor.NameKVM // which alone can
	if o.program && o.launch.Terminal != nil {
		set.terminal = &WindowSize{Rows: o.launch.Terminal.Rows, Cols: o.launch.Terminal.Cols}
	}
	mine := *o
	mine.spec, mine.files = spec, files
	mine.close = func() {} // others may be started from the same files
	return &VM{config: cfg, options: set, origin: &mine}, nil
}

// newVM is vm; a VM that is to be kept has its directory.
func (o *origin) newVM(ctx context.Context, opts []Option) (*VM, error) {
	vm, err := o.vm(opts)
	if err == nil && vm.options.keep {
		err = vm.keep(ctx)
	}
	if err != nil {
		return nil, err
	}
	return vm, nil
}

// replace merges the options into the saved VM's configuration.
func (o *origin) replace(set options) (cfg Config, spec monitor.Origin, files *monitor.OriginFiles, err error) {
	cfg, spec = o.config.clone(), o.spec
	spec.Disks = slices.Clone(spec.Disks)
	changed := *o.files
	changed.Disks = slices.Clone(changed.Disks)
	files = &changed
	var errs []error
	for _, dir := range set.dirs {
		if err := cfg.moveDir(dir); err != nil {
			errs = append(errs, err)
		}
		spec.Moved = append(spec.Moved, dir.Guest)
	}
	for name, disk := range set.disks {
		if err := cfg.exchangeDisk(name, disk); err != nil {
			errs = append(errs, err)
		}
		if i := slices.Index(spec.Disks, name); i >= 0 {
			spec.Disks, files.Disks = slices.Delete(spec.Disks, i, i+1), slices.Delete(files.Disks, i, i+1)
		}
	}
	if set.ports != nil {
		cfg.PortMap = *set.ports
	}
	if cfg, err = cfg.absolute(); err != nil {
		errs = append(errs, err)
	}
	return cfg, spec, files, errors.Join(errs...)
}

// withoutSaved is the configuration without the files that a VM which goes on needs no
// more: its kernel and its root file system are in its memory, and some disks were saved.
func (c Config) withoutSaved(disks []string) Config {
	c = c.clone()
	c.KernelPath = ""
	if c.RootfsPath != "" || slices.Contains(disks, monitor.RootName) {
		c.RootfsPath, c.RootDisk, c.RootPath = "", Disk{}, "/" // which every host has
	}
	for i := range slices.Backward(c.Disks) {
		if slices.Contains(disks, monitor.DiskName(i)) {
			c.Disks = slices.Delete(c.Disks, i, i+1)
		}
	}
	return c
}

// moveDir makes another directory the one that the guest has at a path.
func (c *Config) moveDir(dir PathPair) error {
	if dir.Guest == "/" && c.RootPath != "" {
		c.RootPath = dir.Host
		return nil
	}
	i := slices.IndexFunc(c.MappedDirs, func(p PathPair) bool { return p.Guest == dir.Guest })
	if i < 0 {
		var paths []string
		for _, p := range c.dirs() {
			paths = append(paths, p.Guest)
		}
		return fmt.Errorf("replace directory %s: the saved VM has none at %q, but at %q", dir.Host, dir.Guest, paths)
	}
	c.MappedDirs = slices.Clone(c.MappedDirs)
	c.MappedDirs[i].Host = dir.Host
	return nil
}

// exchangeDisk makes another disk the one with a name: "root", "disk0" and so on.
func (c *Config) exchangeDisk(name string, disk Disk) error {
	at := &c.RootDisk
	if name != monitor.RootName {
		i := 0
		for i < len(c.Disks) && name != monitor.DiskName(i) {
			i++
		}
		if i == len(c.Disks) {
			return fmt.Errorf("replace disk %s: the saved VM has %d disks, of which the first is disk0", name, len(c.Disks))
		}
		c.Disks = slices.Clone(c.Disks)
		at = &c.Disks[i]
	}
	switch {
	case *at == Disk{}:
		return errors.New("replace disk root: the saved VM's root is no disk")
	case at.ReadOnly != disk.ReadOnly:
		return fmt.Errorf("replace disk %s by %s: one of them is read-only, and the guest knows it as the other", name, disk)
	}
	*at = disk
	return nil
}
