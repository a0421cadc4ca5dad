package limits

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// commonName is the group that has those of all VMs.
const commonName = "holt"

// Group is a control group for one VM.
type Group struct{ dir string }

// NewGroup makes a control group with limits. name is any file name without a dot
// that no other VM has. Those that dead processes left are removed. The error is
// [ErrNoGroup] where there can be none that bounds the processor time, if that is
// asked for, or else anything; limits on memory and tasks are left out if only they
// cannot be had.
func NewGroup(name string, l Limits) (*Group, error) {
	h, err := thisHierarchy()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoGroup, err)
	}
	return h.newGroup(name, l, os.Geteuid() == 0)
}

func (h hierarchy) newGroup(name string, l Limits, root bool) (*Group, error) {
	var first error
	for _, place := range h.places(root) {
		err := h.keepsLimits(place)
		if err == nil {
			var g *Group
			if g, err = newGroupBelow(filepath.Join(h.top, place), name, l); err == nil {
				return g, nil
			}
		}
		if first == nil {
			first = err // of the place that suits best
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrNoGroup, first)
}

// newGroupBelow makes a group below that in the directory place, and one for all
// VMs in between. That keeps the controllers: nobody can take them away from place
// while a group below passes them on.
func newGroupBelow(place, name string, l Limits) (*Group, error) {
	common := filepath.Join(place, commonName)
	files, err := delegate(place, l.files())
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(common, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if files, err = delegate(common, files); err != nil {
		return nil, err
	}
	sweep(common)
	g := &Group{dir: filepath.Join(common, name+"."+strconv.Itoa(os.Getpid()))}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, err
	}
	if err := g.limit(files); err != nil {
		_ = os.Remove(g.dir)
		return nil, err
	}
	return g, nil
}

// file is a limit's file in a group's directory and what it is to hold.
type file struct {
	controller, name, value string
	required                bool
}

func (l Limits) files() []file {
	var files []file
	if l.CPUQuota > 0 {
		value := fmt.Sprintf("%d %d", l.CPUQuota.Microseconds(), Period.Microseconds())
		files = append(files, file{"cpu", "cpu.max", value, true})
	}
	if l.Memory > 0 {
		files = append(files, file{"memory", "memory.max", strconv.FormatUint(l.Memory, 10), false})
	}
	if l.Tasks > 0 {
		files = append(files, file{"pids", "pids.max", strconv.Itoa(l.Tasks), false})
	}
	return files
}

// delegate lets groups below dir have the limits that files are for, and returns
// those that they can have.
func delegate(dir string, files []file) (passed []file, err error) {
	enabled, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return nil, err
	}
	available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		var err error
		switch {
		case slices.Contains(strings.Fields(string(enabled)), f.controller):
		case slices.Contains(strings.Fields(string(available)), f.controller):
			err = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+f.controller), 0o644)
		default:
			err = fmt.Errorf("group %s has no %s controller", dir, f.controller)
		}
		switch {
		case err == nil:
			passed = append(passed, f)
		case f.required:
			return nil, err
		}
	}
	if len(passed) == 0 {
		return nil, fmt.Errorf("group %s has nothing to limit with", dir)
	}
	return passed, nil
}

// limit writes a group's limits.
func (g *Group) limit(files []file) error {
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(g.dir, f.name), []byte(f.value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Allow makes room for more bytes of memory than the group at path has in use now. It is
// no error that there is no limit.
func Allow(path string, more uint64) error {
	limit := filepath.Join(path, "memory.max")
	text, err := os.ReadFile(limit)
	if errors.Is(err, os.ErrNotExist) || err == nil && strings.TrimSpace(string(text)) == "max" {
		return nil
	}
	if err != nil {
		return err
	}
	if text, err = os.ReadFile(filepath.Join(path, "memory.current")); err != nil {
		return err
	}
	used, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return err
	}
	return os.WriteFile(limit, []byte(strconv.FormatUint(used+more, 10)), 0o644)
}

// Path is the group's directory.
func (g *Group) Path() string { return g.dir }

// Start starts cmd in the group and changes cmd.SysProcAttr. To move a process that
// runs would take the kernel some 10 ms, in which nothing on the host could fork.
func (g *Group) Start(cmd *exec.Cmd) error {
	dir, err := os.Open(g.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	return cmd.Start()
}

// Remove removes the group, and kills what is still in it.
func (g *Group) Remove() error {
	err := os.Remove(g.dir)
	for range 50 {
		if !errors.Is(err, syscall.EBUSY) {
			break
		}
		// Since Linux 5.14. Without it they may yet end by themselves.
		_ = os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0o644)
		time.Sleep(10 * time.Millisecond)
		err = os.Remove(g.dir)
	}
	return err
}

// sweep removes the groups below common whose makers are dead, unless the kernel
// says that somebody lives there.
func sweep(common string) {
	entries, err := os.ReadDir(common)
	if err != nil {
		return
	}
	for _, e := range entries {
		_, maker, ok := strings.Cut(e.Name(), ".")
		pid, err := strconv.Atoi(maker)
		if !e.IsDir() || !ok || err != nil || pid <= 0 || syscall.Kill(pid, 0) != syscall.ESRCH {
			continue
		}
		_ = os.Remove(filepath.Join(common, e.Name()))
	}
}
