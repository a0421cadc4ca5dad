package holt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/snapshot"
	"github.com/holtvm/holt/internal/state"
	"github.com/holtvm/holt/internal/version"
)

// Snapshot is a VM that was saved to a file: any number of VMs can go on from it, see
// [Restore]. It stays until it is removed, whatever becomes of the VM.
type Snapshot struct{ stored *snapshot.Snapshot }

// SnapshotInfo is what is known about a snapshot.
type SnapshotInfo struct {
	ID      string    `json:"id"` // 12 hexadecimal digits
	Name    string    `json:"name,omitempty"`
	VM      string    `json:"vm"` // name or id of the VM that it is of
	Created time.Time `json:"created"`
	// Parent is the id of the snapshot of which this one has the changes only. Empty:
	// it is whole.
	Parent      string `json:"parent,omitempty"`
	MemoryBytes uint64 `json:"memory_bytes"` // of the guest
	VCPUs       int    `json:"vcpus"`
	Program     bool   `json:"program"`    // its main program runs
	Stdin       bool   `json:"stdin"`      // which has an input
	Terminal    bool   `json:"terminal"`   // or a terminal
	DiskBytes   int64  `json:"disk_bytes"` // what the snapshot takes of the host's disk, without its parents
	// CPUFeatures must be had by the processor of a host that restores it: names of
	// /proc/cpuinfo, or those of Linux's own constants. Its maker, the layout of its
	// XSAVE area and what it is immune to are compared when it is restored.
	CPUFeatures []string `json:"cpu_features,omitempty"`
	Holt        string   `json:"holt,omitempty"` // the version of Holt that made it
	// Imported says that it is from an archive, and so is its configuration: what it
	// shared of a host is to be named anew when it is restored.
	Imported  bool   `json:"imported"`
	Directory string `json:"directory"` // where its files are on the host
	Config    Config `json:"config"`
}

// Label is how the snapshot is called: by its name or, without one, its id.
func (i SnapshotInfo) Label() string {
	if i.Name != "" {
		return i.Name
	}
	return i.ID
}

// SnapshotOption changes how a snapshot is made.
type SnapshotOption func(*snapshotOptions)

type snapshotOptions struct{ differential bool }

// Differential saves only the memory that changed since the VM's last differential
// snapshot, or since the snapshot that it was restored from, which becomes the parent
// of this one. The first one of a VM is whole. From then on the VM's own memory is
// mapped from the snapshot's file, page by page.
func Differential() SnapshotOption { return func(o *snapshotOptions) { o.differential = true } }

// Snapshot saves a VM that runs or is paused, under a name of the form that VMs' names
// have, or without one if it is empty. A VM that runs stands still meanwhile and goes
// on. Its writable disks are saved with it; what it shares with the host is noted, and
// looked for again when the snapshot is restored. A name that is in use is ErrExists.
//
// The qemu backend cannot save VMs, nor can a VM be saved whose Config says Nested.
func (vm *VM) Snapshot(ctx context.Context, name string, opts ...SnapshotOption) (*Snapshot, error) {
	var o snapshotOptions
	for _, set := range opts {
		set(&o)
	}
	s, err := vm.snapshot(ctx, name, o)
	if err != nil {
		return nil, fmt.Errorf("save VM %s: %w", vm.Name(), err)
	}
	return s, nil
}

func (vm *VM) snapshot(ctx context.Context, name string, o snapshotOptions) (*Snapshot, error) {
	store, err := snapshots()
	if err != nil {
		return nil, err
	}
	s, err := vm.snapshotTo(ctx, store, name, o)
	if err != nil {
		return nil, snapshotError(err)
	}
	vm.mu.Lock()
	defer vm.mu.Unlock()
	note(eventSnapshot, vm.dir.Record, "snapshot", s.Manifest.Label())
	return &Snapshot{s}, nil
}

// snapshotTo saves the VM in a store.
func (vm *VM) snapshotTo(ctx context.Context, store *snapshot.Store, name string, o snapshotOptions) (*snapshot.Snapshot, error) {
	if vm.broken != nil {
		return nil, vm.broken
	}
	c, err := vm.client()
	if err != nil {
		return nil, err
	}
	var parent string
	var base control.Base
	if o.differential {
		if err := c.Get(ctx, control.PathBase, &base); err != nil {
			return nil, vm.refused(control.PathSnapshot, err)
		}
		if _, err := store.Find(base.Snapshot); base.Snapshot != "" && err == nil {
			parent = base.Snapshot // else it was removed: everything is saved
		}
	}
	draft, err := store.Begin(ctx, name)
	if err != nil {
		return nil, err
	}
	defer draft.Abort()
	params := []string{control.ParamDir, draft.Path, control.ParamID, draft.ID, control.ParamParent, parent}
	if o.differential {
		params = append(params, control.ParamRebase, "1")
	}
	var done control.Captured
	if err := c.Post(ctx, control.PathSnapshot, &done, params...); err != nil {
		return nil, vm.refused(control.PathSnapshot, err)
	}
	vm.mu.Lock()
	record := vm.dir.Record
	vm.mu.Unlock()
	sizes := map[string]int64{}
	for _, disk := range done.Disks {
		fi, err := os.Stat(filepath.Join(draft.Path, snapshot.DiskSection(disk)))
		if err != nil {
			return nil, err
		}
		sizes[disk] = fi.Size()
	}
	m, err := vm.config.manifest(record, done, sizes)
	if err != nil {
		return nil, err
	}
	m.Parent = parent
	return draft.Commit(ctx, m)
}

// manifest is what a snapshot of a VM with this configuration says of itself, whose disks
// of these sizes were saved.
func (c Config) manifest(r state.Record, done control.Captured, disks map[string]int64) (snapshot.Manifest, error) {
	m := snapshot.Manifest{
		Arch: runtime.GOARCH, VM: r.Label(), Holt: version.Holt(),
		Memory: uint64(c.MemoryMB) * bytesPerMiB, VCPUs: int(c.VCPUCount), Program: done.Program,
		Options: r.Options, CPUFeatures: done.CPUFeatures,
	}
	var how launch
	if err := json.Unmarshal(r.Options, &how); err != nil {
		return m, fmt.Errorf("read how the VM was run: %w", err)
	}
	m.Imported = how.Imported
	var err error
	if m.Config, err = json.Marshal(c); err != nil {
		return m, err
	}
	m.Needs, err = c.needs(disks)
	return m, err
}

// snapshots is the store of this user's snapshots.
func snapshots() (*snapshot.Store, error) {
	dirs, err := paths.Default()
	if err != nil {
		return nil, err
	}
	return snapshot.Open(dirs), nil
}

// snapshotError makes ErrNotFound and ErrExists of a store's errors.
func snapshotError(err error) error {
	if exists, ok := errors.AsType[*snapshot.ExistsError](err); ok {
		return fmt.Errorf("%w: %w", ErrExists, exists)
	}
	if errors.Is(err, snapshot.ErrNotFound) {
		return &notFoundError{err}
	}
	return err
}

// Snapshots returns all snapshots of this user, oldest first. Those that are damaged or of
// another version of the format are left out.
func Snapshots(context.Context) ([]*Snapshot, error) {
	store, err := snapshots()
	if err != nil {
		return nil, err
	}
	all, err := store.List()
	if err != nil {
		return nil, err
	}
	list := make([]*Snapshot, len(all))
	for i, s := range all {
		list[i] = &Snapshot{s}
	}
	return list, nil
}

// OpenSnapshot returns the snapshot with a name, an id, or the only id that begins so
// (with 4 digits or more). ErrNotFound says that there is none.
func OpenSnapshot(_ context.Context, name string) (*Snapshot, error) {
	store, err := snapshots()
	if err != nil {
		return nil, err
	}
	s, err := store.Find(name)
	if err != nil {
		return nil, snapshotError(err)
	}
	return &Snapshot{s}, nil
}

// Info returns what is known about the snapshot.
func (s *Snapshot) Info() (SnapshotInfo, error) {
	m := s.stored.Manifest
	info := SnapshotInfo{
		ID: m.ID, Name: m.Name, VM: m.VM, Created: m.Created, Parent: m.Parent, MemoryBytes: m.Memory, VCPUs: m.VCPUs,
		Program: m.Program, DiskBytes: m.Data(), CPUFeatures: m.CPUFeatures, Holt: m.Holt, Imported: m.Imported, Directory: s.stored.Path(),
	}
	if err := json.Unmarshal(m.Config, &info.Config); err != nil {
		return info, fmt.Errorf("snapshot %s: its configuration: %w", m.Label(), err)
	}
	var how launch
	if err := json.Unmarshal(m.Options, &how); err != nil {
		return info, fmt.Errorf("snapshot %s: how it was run: %w", m.Label(), err)
	}
	info.Stdin, info.Terminal = how.Stdin, how.Terminal != nil
	return info, nil
}

// Remove removes the snapshot. VMs that were restored from it go on; it is an error
// when another snapshot has only what changed since this one.
func (s *Snapshot) Remove(ctx context.Context) error {
	store, err := snapshots()
	if err != nil {
		return err
	}
	return snapshotError(store.Remove(ctx, s.stored))
}

// Verify reads all of the snapshot and compares it with its checksums, which restoring
// does not do.
func (s *Snapshot) Verify(ctx context.Context) error { return s.stored.Verify(ctx) }

// Export writes the snapshot to w as one stream, which [ImportSnapshot] reads on this
// host or another. A differential one is made whole. With compress the stream is
// compressed with zstd. The snapshot is verified before anything is written.
func (s *Snapshot) Export(ctx context.Context, w io.Writer, compress bool) error {
	return s.stored.Export(ctx, w, compress)
}

// ImportSnapshot reads what [Snapshot.Export] wrote, from anywhere. The snapshot gets
// the name or, if that is empty, the name that it had; one that is in use is ErrExists.
// Nothing is left of a stream that is not complete and sound.
func ImportSnapshot(ctx context.Context, r io.Reader, name string) (*Snapshot, error) {
	store, err := snapshots()
	if err != nil {
		return nil, err
	}
	s, err := store.Import(ctx, r, name)
	if err != nil {
		return nil, snapshotError(err)
	}
	return &Snapshot{s}, nil
}

// RecordWorkingSet notes which pages of memory a VM that was restored from the snapshot
// uses now. [Prefetch] makes them ready in later ones. The first record stays: another
// one changes nothing. A VM that was booted is an error.
func (s *Snapshot) RecordWorkingSet(ctx context.Context, vm *VM) error {
	c, err := vm.client()
	if err != nil {
		return err
	}
	b, err := c.GetText(ctx, control.PathWorkingSet)
	if err != nil {
		return vm.refused(control.PathWorkingSet, err)
	}
	runs, err := guestmem.DecodeRuns(b, uint32(s.stored.Manifest.Memory/guestmem.PageSize))
	if err != nil {
		return fmt.Errorf("record the working set of VM %s: %w", vm.Name(), err)
	}
	return s.stored.AddWorkingSet(ctx, runs)
}
