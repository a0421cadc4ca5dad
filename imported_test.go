package holt

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/snapshot"
	"github.com/holtvm/holt/internal/state"
)

// savedDisk is a snapshot, imported or not, of a VM with a kernel and a disk of its own
// that was saved, and the directory that they and its root are.
func savedDisk(t *testing.T, imported bool) (*Snapshot, Config, string) {
	t.Helper()
	dir := t.TempDir()
	cfg := DefaultConfig()
	cfg.MemoryMB, cfg.RootPath, cfg.ExecPath = 64, dir, "true"
	cfg.KernelPath, cfg.Disks = filepath.Join(dir, "kernel"), []Disk{{Path: filepath.Join(dir, "image")}}
	for _, path := range []string{cfg.KernelPath, cfg.Disks[0].Path} {
		if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	needs, err := cfg.needs(map[string]int64{"disk0": 4096})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	draft, err := snapshot.OpenAt(filepath.Join(t.TempDir(), "store")).Begin(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer draft.Abort()
	for name, size := range map[string]int64{snapshot.State: 10, snapshot.Memory: 64 << 20, snapshot.DiskSection("disk0"): 4096} {
		f, err := draft.Create(name)
		if err == nil {
			err = f.Truncate(size)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	s, err := draft.Commit(t.Context(), snapshot.Manifest{
		Memory: 64 << 20, VCPUs: 1, Config: text, Options: []byte(`{}`), Needs: needs, Imported: imported,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Snapshot{s}, cfg, dir
}

// restoring is the VM of a snapshot, before it starts.
func restoring(t *testing.T, s *Snapshot, opts ...Option) (*VM, error) {
	t.Helper()
	opts = append(opts, InProcess())
	set, err := collect(opts)
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.open(set)
	if err != nil {
		return nil, err
	}
	t.Cleanup(o.close)
	return o.vm(opts)
}

// TestSavedFilesMayGo: what was saved is not looked for where it was.
func TestSavedFilesMayGo(t *testing.T) {
	s, cfg, _ := savedDisk(t, false)
	if err := os.Remove(cfg.KernelPath); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(cfg.Disks[0].Path); err != nil {
		t.Fatal(err)
	}
	vm, err := restoring(t, s)
	if err != nil {
		t.Fatal(err)
	}
	m, err := vm.config.manifest(state.Record{Options: []byte(`{}`)}, control.Captured{}, map[string]int64{"disk0": 4096})
	if err != nil || m.Imported || m.Needs.Disks[0].Size != 4096 || !m.Needs.Disks[0].Saved {
		t.Errorf("the snapshot of a clone: %+v, %v", m.Needs, err)
	}
}

// TestImportedFilesAreNotBooted: a VM that stays is started again some time, and must not
// boot then from files of this host that an archive's maker chose. One that ends needs
// none, but its snapshots and copies are no better than it.
func TestImportedFilesAreNotBooted(t *testing.T) {
	s, cfg, dir := savedDisk(t, true)
	root := ReplaceDir(dir, "/")
	_, err := restoring(t, s, root, Keep())
	for _, want := range []string{cfg.KernelPath, cfg.Disks[0].Path, "--disk disk0=FILE"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	vm, err := restoring(t, s, root)
	if err != nil {
		t.Fatal(err)
	}
	how, err := json.Marshal(vm.options.record(false, nil))
	if err != nil {
		t.Fatal(err)
	}
	m, err := vm.config.manifest(state.Record{Options: how}, control.Captured{}, map[string]int64{"disk0": 4096})
	if err != nil || !m.Imported {
		t.Errorf("the snapshot of a clone is as good as one from here: %+v, %v", m, err)
	}
	vm.origin.launch.Imported = true // as a copy of it finds it
	if _, err := vm.origin.vm([]Option{InProcess(), Keep()}); err == nil || !strings.Contains(err.Error(), "imported") {
		t.Errorf("a copy that stays: %v", err)
	}
	if _, err := vm.origin.vm([]Option{InProcess()}); err != nil {
		t.Errorf("a copy that ends: %v", err)
	}
}

// TestOriginIsKeptForAnotherTry: a VM that is kept goes on from its origin the next time,
// too, if the first start failed; unless the origin is a template that no VM can go on
// from, which is removed.
func TestOriginIsKeptForAnotherTry(t *testing.T) {
	for _, c := range []struct {
		name                    string
		err                     error
		kept, template          bool
		wantOrigin, wantDiscard bool
	}{
		{"lost, kept", agentclient.ErrLost, true, false, true, false},
		{"lost, not kept", agentclient.ErrLost, false, false, false, false},
		{"lost, from a template", agentclient.ErrLost, true, true, false, true},
		{"no such program, from a template", ErrProgramNotFound, true, true, true, false},
	} {
		closed, discarded := false, false
		vm := &VM{origin: &origin{close: func() { closed = true }}}
		if c.template {
			vm.origin.discard = func() { discarded = true }
		}
		vm.keepOrigin(c.err, c.kept)
		if (vm.origin != nil) != c.wantOrigin || closed == c.wantOrigin || discarded != c.wantDiscard {
			t.Errorf("%s: origin %v, closed %v, discarded %v", c.name, vm.origin, closed, discarded)
		}
	}
}
