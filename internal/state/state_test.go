package state

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/paths"
)

// TestMain makes this binary a process that is killed while it is in charge.
func TestMain(m *testing.M) {
	if dir := os.Getenv("HOLT_TEST_CRASH_IN"); dir != "" {
		r := Record{Name: os.Getenv("HOLT_TEST_NAME"), Kept: os.Getenv("HOLT_TEST_KEPT") != ""}
		d, err := store(dir).Create(context.Background(), r)
		if err != nil {
			panic(err)
		}
		if r.Kept {
			if err := d.SetStatus(Status{State: Running, Monitor: os.Getpid()}); err != nil {
				panic(err)
			}
		}
		os.Stdout.WriteString(d.Record.ID)
		os.Exit(1) // without Remove: what a kill leaves behind
	}
	os.Exit(m.Run())
}

func store(dir string) *Store {
	return Open(paths.Dirs{Data: filepath.Join(dir, "data"), Runtime: dir})
}

func crash(t *testing.T, dir string, env ...string) (id string) {
	t.Helper()
	crashed := exec.Command(os.Args[0])
	crashed.Env = append(append(os.Environ(), "HOLT_TEST_CRASH_IN="+dir), env...)
	out, _ := crashed.Output()
	if crashed.ProcessState.ExitCode() != 1 || len(out) != 12 {
		t.Fatalf("the crashing process: %v, %q", crashed.ProcessState, out)
	}
	return string(out)
}

func make1(t *testing.T, s *Store, r Record) *Dir {
	t.Helper()
	d, err := s.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Unlock)
	return d
}

func TestCreateFindRemove(t *testing.T) {
	dir := t.TempDir()
	s := store(dir)
	for _, kept := range []bool{false, true} {
		d := make1(t, s, Record{Name: "web", Kept: kept, Config: []byte(`{"a":1}`)})
		for _, name := range []string{"web", d.Record.ID, d.Record.ID[:5]} {
			found, err := s.Find(name)
			if err != nil || found.Record.ID != d.Record.ID || found.Record.Kept != kept {
				t.Fatalf("%s: %+v, %v", name, found, err)
			}
		}
		if removed, err := s.Sweep(); err != nil || len(removed) != 0 {
			t.Fatalf("Sweep of a live VM removed %v, %v", removed, err)
		}
		if err := d.Remove(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Find("web"); !errors.Is(err, ErrNotFound) {
			t.Errorf("afterwards: %v", err)
		}
	}
}

func TestNames(t *testing.T) {
	s := store(t.TempDir())
	web := make1(t, s, Record{Name: "web", Kept: true})
	other := make1(t, s, Record{Name: "other"})
	for _, bad := range []string{"-x", "a/b", "0123456789ab", "a\nb", strings.Repeat("x", 64), "ü"} {
		if _, err := s.Create(t.Context(), Record{Name: bad}); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
	var exists *ExistsError
	if _, err := s.Create(t.Context(), Record{Name: "web"}); !errors.As(err, &exists) || exists.ID != web.Record.ID {
		t.Errorf("a second one of the name: %v", err)
	}
	if err := s.Rename(t.Context(), other, "web"); !errors.As(err, &exists) {
		t.Errorf("rename to a name that is taken: %v", err)
	}
	if err := s.Rename(t.Context(), other, "fine"); err != nil {
		t.Fatal(err)
	}
	if err := s.Rename(t.Context(), web, "web"); err != nil {
		t.Errorf("rename to its own name: %v", err)
	}
	if found, err := s.Find("fine"); err != nil || found.Record.ID != other.Record.ID {
		t.Errorf("%v, %v", found, err)
	}
	if err := other.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := s.Rename(t.Context(), other, "late"); !errors.Is(err, ErrNotFound) {
		t.Errorf("rename of a removed VM: %v", err)
	}
}

func TestAmbiguousID(t *testing.T) {
	s := store(t.TempDir())
	for range 2 {
		d := make1(t, s, Record{})
		twin := filepath.Join(filepath.Dir(d.Path), "abcd"+d.Record.ID[4:])
		d.Record.ID = filepath.Base(twin)
		if err := errors.Join(d.write(recordName, d.Record), os.Rename(d.Path, twin)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Find("abcd"); err == nil || !strings.Contains(err.Error(), "2 VMs") {
		t.Errorf("error %v", err)
	}
}

func TestSweepRemovesTheDead(t *testing.T) {
	dir := t.TempDir()
	s := store(dir)
	live := make1(t, s, Record{})
	// One that was to go in the end, and whose monitor died before it did that.
	gone := make1(t, s, Record{Kept: true, Remove: true})
	if err := gone.SetStatus(Status{State: Running}); err != nil {
		t.Fatal(err)
	}
	unused := make1(t, s, Record{Kept: true, Remove: true})
	unused.Unlock()
	kept := crash(t, dir, "HOLT_TEST_KEPT=1")
	dead := crash(t, dir)
	gone.Unlock()
	stale := filepath.Join(dir, atomicfile.TempPrefix+"stale")
	fresh := filepath.Join(dir, atomicfile.TempPrefix+"fresh")
	foreign := filepath.Join(dir, "foreign")
	for _, d := range []string{stale, fresh, foreign} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(stale, old, old); err != nil {
		t.Fatal(err)
	}
	removed, err := s.Sweep()
	slices.Sort(removed)
	want := []string{dead, gone.Record.ID, filepath.Base(stale)}
	slices.Sort(want)
	if err != nil || !slices.Equal(removed, want) {
		t.Errorf("Sweep removed %v, %v; want %v", removed, err, want)
	}
	for _, d := range []string{live.Path, fresh, foreign, unused.Path, filepath.Join(s.kept, kept)} {
		if _, err := os.Stat(d); err != nil {
			t.Errorf("Sweep removed %s", d)
		}
	}
}

// TestCreateBesideWhatCannotBeRemoved: what somebody left behind keeps nobody from
// making VMs, and Sweep tells of it.
func TestCreateBesideWhatCannotBeRemoved(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root can remove everything")
	}
	dir := t.TempDir()
	stuck := filepath.Join(dir, atomicfile.TempPrefix+"x", "stuck")
	old := time.Now().Add(-time.Hour)
	if err := errors.Join(os.MkdirAll(filepath.Join(stuck, "in"), 0o700), os.Chmod(stuck, 0o500),
		os.Chtimes(filepath.Dir(stuck), old, old)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(stuck, 0o700) })
	if _, err := store(dir).Sweep(); err == nil {
		t.Error("Sweep does not tell what it cannot remove")
	}
	make1(t, store(dir), Record{})
}

// TestStatusIsTheTruth: what the files say counts only as far as somebody is in
// charge.
func TestStatusIsTheTruth(t *testing.T) {
	dir := t.TempDir()
	s := store(dir)
	status := func(d *Dir) Status {
		t.Helper()
		got, err := d.Status()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	d := make1(t, s, Record{Name: "a", Kept: true})
	other := &Dir{Path: d.Path, Record: d.Record}
	if mine, theirs := status(d), status(other); mine.State != Created || theirs.State != Starting {
		t.Errorf("in its maker's hands it is %s, for others %s", mine.State, theirs.State)
	}
	d.Unlock()
	if got := status(d); got.State != Created {
		t.Errorf("new, it is %s", got.State)
	}
	if err := d.TryLock(); err != nil {
		t.Fatal(err)
	}
	if err := d.SetStatus(Status{State: Paused}); err != nil || status(other).State != Paused {
		t.Errorf("%v, %v", status(other), err)
	}
	if got := status(d); got.State != Stopped {
		t.Errorf("for the one in charge, who is no monitor, it is %s", got.State)
	}
	d.Unlock()
	if got := status(d); got.State != Stopped || got.End == nil || !strings.Contains(got.End.Error, "monitor died") {
		t.Errorf("without its monitor: %+v", got)
	}
	stale := Status{Version: Version, State: Running, BootID: "another"}
	if err := d.write(statusName, stale); err != nil {
		t.Fatal(err)
	}
	if got := status(d); got.State != Stopped || !strings.Contains(got.End.Error, "restarted") {
		t.Errorf("after a restart of the host: %+v", got)
	}
	if err := os.WriteFile(filepath.Join(d.Path, statusName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := status(d); got.State != Stopped {
		t.Errorf("with a torn file: %+v", got)
	}
	dead, err := s.Find(crash(t, dir, "HOLT_TEST_KEPT=1"))
	if err != nil {
		t.Fatal(err)
	}
	if got := status(dead); got.State != Stopped || got.End == nil {
		t.Errorf("after a kill: %+v", got)
	}
}

func TestOneIsInCharge(t *testing.T) {
	s := store(t.TempDir())
	d := make1(t, s, Record{Kept: true})
	again, err := s.Find(d.Record.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.TryLock(); !errors.Is(err, ErrBusy) {
		t.Errorf("a second lock: %v", err)
	}
	late := &Dir{Path: d.Path, Record: d.Record}
	if err := d.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := late.TryLock(); !errors.Is(err, ErrNotFound) {
		t.Errorf("lock of a removed VM: %v", err)
	}
	if _, err := late.Status(); !errors.Is(err, ErrNotFound) {
		t.Errorf("status of a removed VM: %v", err)
	}
}

func TestLockOutlivesTheCreator(t *testing.T) {
	s := store(t.TempDir())
	d := make1(t, s, Record{})
	child := exec.Command("sleep", "60")
	child.ExtraFiles = []*os.File{d.Lock}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if !d.HeldBy(child.Process.Pid) || d.HeldBy(1) {
		t.Error("the holder is not found, or another one")
	}
	d.Unlock()
	if removed, _ := s.Sweep(); len(removed) != 0 {
		t.Errorf("swept %v while another process holds the lock", removed)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	if err := d.WaitFree("", t.Context().Done()); err != nil {
		t.Error(err)
	}
	if removed, _ := s.Sweep(); len(removed) != 1 {
		t.Errorf("swept %v after the last holder died", removed)
	}
}

// TestWaitFreeOfOneRun: who waits for a run's end does not wait for the next one, even
// if it never saw the VM free.
func TestWaitFreeOfOneRun(t *testing.T) {
	d := make1(t, store(t.TempDir()), Record{Kept: true})
	set := func(s Status) {
		if err := d.SetStatus(s); err != nil {
			t.Fatal(err)
		}
	}
	other := &Dir{Path: d.Path, Record: d.Record}
	ended := make(chan struct{})
	close(ended)
	for _, c := range []struct {
		status Status
		want   error
	}{
		{Status{State: Stopping, Run: "one"}, ErrBusy},
		{Status{State: Stopped, Run: "one"}, ErrBusy}, // it leaves, or somebody is about to start the next
		{Status{State: Starting, Run: "two"}, nil},
		{Status{State: Running, Run: "two"}, nil},
	} {
		set(c.status)
		if err := other.WaitFree("one", ended); !errors.Is(err, c.want) {
			t.Errorf("while it is %s in run %s: %v", c.status.State, c.status.Run, err)
		}
	}
}

func TestTable(t *testing.T) {
	all := []State{Created, Starting, Running, Paused, Stopping, Stopped}
	for _, op := range Operations() {
		legal := 0
		for _, s := range all {
			err := s.Check(op, "web")
			if (err == nil) != s.Allows(op) {
				t.Errorf("%s when %s: %v", op, s, err)
			}
			if err == nil {
				legal++
			} else if !strings.Contains(err.Error(), "web") || !strings.Contains(err.Error(), string(s)) {
				t.Errorf("%q does not say which VM, and its state", err)
			}
		}
		if legal == 0 {
			t.Errorf("%s is never legal", op)
		}
	}
}
