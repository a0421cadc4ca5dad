package holt

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"

	"github.com/holtvm/holt/internal/diskimage"
	"github.com/holtvm/holt/internal/monitor"
	"github.com/holtvm/holt/internal/snapshot"
	"github.com/holtvm/holt/internal/tempfile"
)

// Restore makes a VM that goes on where a snapshot was taken, and returns when it runs.
// Its main program goes on with streams that are thrown away; [VM.Attach] connects them.
// The VM ends with this process unless [Keep] is among the options.
func Restore(ctx context.Context, name string, opts ...Option) (*VM, error) {
	s, o, err := openOrigin(ctx, name, opts)
	if err != nil {
		return nil, err
	}
	defer o.close()
	vm, err := o.start(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("restore snapshot %s: %w", s.stored.Manifest.Label(), err)
	}
	return vm, nil
}

// FromSnapshot returns a VM whose Start goes on where the snapshot was taken, in place
// of booting. The snapshot's files are open until then. Stdin, Stdout and Stderr are its
// main program's from then on.
func FromSnapshot(ctx context.Context, name string, opts ...Option) (*VM, error) {
	_, o, err := openOrigin(ctx, name, opts)
	if err != nil {
		return nil, err
	}
	vm, err := o.newVM(ctx, opts)
	if err != nil {
		o.close()
		return nil, err
	}
	vm.origin.close = o.close
	return vm, nil
}

// openOrigin finds a snapshot and opens its files, when what the guest needs of this host
// is there.
func openOrigin(ctx context.Context, name string, opts []Option) (*Snapshot, *origin, error) {
	s, err := OpenSnapshot(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	set, err := collect(opts)
	if err != nil {
		return nil, nil, err
	}
	o, err := s.open(set)
	if err != nil {
		return nil, nil, fmt.Errorf("restore snapshot %s: %w", s.stored.Manifest.Label(), err)
	}
	return s, o, nil
}

func (s *Snapshot) open(set options) (*origin, error) {
	m := s.stored.Manifest
	if m.Arch != runtime.GOARCH {
		return nil, fmt.Errorf("it is of a machine with a processor of another kind (%q), this host has %s", m.Arch, runtime.GOARCH)
	}
	var cfg Config
	if err := json.Unmarshal(m.Config, &cfg); err != nil {
		return nil, fmt.Errorf("its configuration: %w", err)
	}
	// What the saved VM wrote is not for another one to write.
	cfg.ConsoleOutput, cfg.PacketCapture = "", ""
	if err := cfg.agrees(m.Needs); err != nil {
		return nil, err
	}
	foreign := error(nil)
	if m.Imported {
		foreign = cfg.foreign(m.Needs, set)
		if err := checkNamed(m.Needs, set); err != nil || foreign != nil && set.keep {
			return nil, errors.Join(err, foreign)
		}
	}
	if err := checkNeeds(m.Needs, set); err != nil {
		return nil, err
	}
	opened, err := s.stored.Open()
	if err != nil {
		return nil, err
	}
	files, disks, err := originFiles(opened, m.Needs.Disks, set.prefetch)
	if err != nil {
		opened.Close()
		return nil, err
	}
	o, err := newOrigin(cfg, m.Options, m.Program, files, disks)
	if err != nil {
		files.Close()
		return nil, err
	}
	o.spec.Snapshot = m.ID
	o.launch.Imported = foreign != nil
	return o, nil
}

// originFiles are a snapshot's open files as a monitor takes them, and the names of the
// disks among them.
func originFiles(opened *snapshot.Files, needed []snapshot.Disk, prefetch bool) (files *monitor.OriginFiles, disks []string, err error) {
	var made []*os.File
	defer func() {
		if err != nil {
			monitor.CloseAll(made)
		}
	}()
	files = &monitor.OriginFiles{}
	if files.State, err = tempfile.InMemory("state", opened.State); err != nil {
		return nil, nil, err
	}
	made = append(made, files.State)
	for i, l := range opened.Memory.Layers {
		var pages *os.File
		if i > 0 {
			if pages, err = runsFile(l.Runs); err != nil {
				return nil, nil, err
			}
			made = append(made, pages)
		}
		files.Memory, files.Pages = append(files.Memory, l.File), append(files.Pages, pages)
	}
	for _, d := range needed {
		if f := opened.Disks[d.Name]; f != nil {
			disks, files.Disks = append(disks, d.Name), append(files.Disks, f)
		}
	}
	if prefetch && len(opened.WorkingSet) > 0 {
		if files.WorkingSet, err = runsFile(opened.WorkingSet); err != nil {
			return nil, nil, err
		}
	}
	return files, disks, nil
}

// needs is what a VM with this configuration uses of the host. saved are the disks that
// were saved, by name, and their sizes in bytes.
func (c Config) needs(saved map[string]int64) (n snapshot.Needs, err error) {
	for _, d := range c.dirs() {
		dev, ino, err := directory(d.Host)
		if err != nil {
			return n, err
		}
		n.Dirs = append(n.Dirs, snapshot.Dir{Host: d.Host, Guest: d.Guest, ReadOnly: d.ReadOnly, Dev: dev, Ino: ino})
	}
	names := c.diskNames()
	for i, d := range c.disks() {
		need := snapshot.Disk{Name: names[i], Path: d.Path, ReadOnly: d.ReadOnly}
		if size, ok := saved[names[i]]; ok {
			need.Size, need.Saved = size, true // whatever has become of the image since
		} else {
			id, err := diskimage.Identify(d.Path)
			if err != nil {
				return n, err
			}
			need.Size, need.MTime, need.Dev, need.Ino = id.Size, id.ModTime, id.Dev, id.Ino
		}
		n.Disks = append(n.Disks, need)
	}
	for _, p := range c.PortMap {
		n.Ports = append(n.Ports, p.String())
	}
	return n, nil
}

// agrees says that the snapshot's needs are not all that its configuration uses of the
// host, so that looking at them would tell nothing.
func (c Config) agrees(n snapshot.Needs) error {
	dirs, disks, names := c.dirs(), c.disks(), c.diskNames()
	same := len(n.Disks) == len(disks) && len(n.Dirs) == len(dirs)
	for i := 0; same && i < len(disks); i++ {
		same = n.Disks[i].Name == names[i] && n.Disks[i].Path == disks[i].Path && n.Disks[i].ReadOnly == disks[i].ReadOnly
	}
	for i := 0; same && i < len(dirs); i++ {
		same = n.Dirs[i].Host == dirs[i].Host && n.Dirs[i].Guest == dirs[i].Guest
	}
	if !same {
		return errors.New("what it needs of the host is not what its configuration says: it is damaged, or forged")
	}
	return nil
}

// checkNamed says which directories and disks an imported snapshot would use that the
// caller did not name: whoever made the archive chose them.
func checkNamed(n snapshot.Needs, set options) error {
	var errs []error
	for _, d := range n.Dirs {
		if !slices.ContainsFunc(set.dirs, func(p PathPair) bool { return p.Guest == d.Guest }) {
			errs = append(errs, fmt.Errorf("it was imported, and would share %q at %q: say which directory is to be there (-v HOST:GUEST, holt.ReplaceDir)", d.Host, d.Guest))
		}
	}
	for _, d := range n.Disks {
		if _, replaced := set.disks[d.Name]; !replaced && !d.Saved {
			errs = append(errs, fmt.Errorf("it was imported, and would use disk %q: say which it gets (--disk %s=FILE, holt.ReplaceDisk)", d.Path, d.Name))
		}
	}
	return errors.Join(errs...)
}

// foreign says which files of the host a VM of an imported snapshot would use if it were
// kept and booted again, and the caller did not name. It needs none of them until then.
func (c Config) foreign(n snapshot.Needs, set options) error {
	const advice = "let the VM end with this command (no -d, no holt.Keep)"
	var errs []error
	if path := cmp.Or(c.KernelPath, c.RootfsPath); path != "" {
		errs = append(errs, fmt.Errorf("it was imported, and would boot from %q when it is started again: %s", path, advice))
	}
	for _, d := range n.Disks {
		if _, replaced := set.disks[d.Name]; !replaced && d.Saved {
			errs = append(errs, fmt.Errorf("it was imported, and would use disk %q when it is started again: say which it gets (--disk %s=FILE, holt.ReplaceDisk), or %s", d.Path, d.Name, advice))
		}
	}
	return errors.Join(errs...)
}

// dirs are all directories that the guest shares, the root first.
func (c Config) dirs() []PathPair {
	if c.RootPath == "" {
		return c.MappedDirs
	}
	return append([]PathPair{{Host: c.RootPath, Guest: "/", ReadOnly: c.RootOverlay}}, c.MappedDirs...)
}

// disks are all disks of the guest, the root first.
func (c Config) disks() []Disk {
	if c.RootDisk == (Disk{}) {
		return c.Disks
	}
	return append([]Disk{c.RootDisk}, c.Disks...)
}

// diskNames are the names of all disks, as the guest and [ReplaceDisk] know them.
func (c Config) diskNames() []string {
	names := make([]string, 0, 1+len(c.Disks))
	if c.RootDisk != (Disk{}) {
		names = append(names, monitor.RootName)
	}
	for i := range c.Disks {
		names = append(names, monitor.DiskName(i))
	}
	return names
}

// directory tells a directory of the host from any other.
func directory(path string) (dev, ino uint64, err error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return 0, 0, fmt.Errorf("find directory %q: %w", path, err)
	}
	return st.Dev, st.Ino, nil
}

// checkNeeds says what the guest needs of this host and does not find, unless it is
// replaced. Ports are asked for when the VM starts.
func checkNeeds(n snapshot.Needs, set options) error {
	var errs []error
	for _, d := range n.Dirs {
		if slices.ContainsFunc(set.dirs, func(p PathPair) bool { return p.Guest == d.Guest }) {
			continue
		}
		dev, ino, err := directory(d.Host)
		if err == nil && (dev != d.Dev || ino != d.Ino) {
			err = fmt.Errorf("directory %q is another one than that which the guest had at %q", d.Host, d.Guest)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: replace the one at %q (-v HOST:GUEST, holt.ReplaceDir)", err, d.Guest))
		}
	}
	for _, d := range n.Disks {
		if _, replaced := set.disks[d.Name]; replaced || d.Saved {
			continue
		}
		id, err := diskimage.Identify(d.Path)
		switch {
		case err != nil:
			err = fmt.Errorf("find disk %q: %w", d.Path, errors.Unwrap(err)) // it may be any text
		case id.Size != d.Size || !id.ModTime.Equal(d.MTime):
			err = fmt.Errorf("disk %q was changed since", d.Path)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: replace it (--disk %s=FILE, holt.ReplaceDisk)", err, d.Name))
		}
	}
	return errors.Join(errs...)
}
