package state

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/vmtest"
)

const (
	// workIn and workSeed make a process of this binary a worker.
	workIn   = "HOLT_TEST_WORK_IN"
	workSeed = "HOLT_TEST_WORK_SEED"

	ownerName = "owner" // a file that whoever is in charge makes and removes
)

// TestRandomWork: several processes make, start, rename and remove the same VMs, and
// some are killed meanwhile. At no time are two in charge of a VM, and at the end each
// VM has its own name, a readable state, and can be removed.
func TestRandomWork(t *testing.T) {
	dir := t.TempDir()
	s := store(dir)
	random := rand.New(rand.NewPCG(vmtest.Seed(t), 0))
	for range vmtest.Times(100, 5) {
		var workers sync.WaitGroup
		for i := range 4 {
			cmd := exec.Command(os.Args[0], "-test.run", "^TestWorker$")
			cmd.Env = append(os.Environ(), workIn+"="+dir, workSeed+"="+strconv.FormatUint(random.Uint64(), 10))
			var life time.Duration
			if i == 0 {
				life = time.Duration(random.IntN(300)) * time.Millisecond
			}
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			workers.Go(func() {
				if life > 0 {
					defer time.AfterFunc(life, func() { _ = cmd.Process.Kill() }).Stop()
				}
				if err := cmd.Wait(); err != nil && err.Error() != "signal: killed" {
					t.Errorf("a worker: %v\n%s", err, &out)
				}
			})
		}
		workers.Wait()
		settled(t, s)
		if t.Failed() {
			return
		}
	}
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if err := errors.Join(d.TryLock(), d.Remove()); err != nil {
			t.Error(err)
		}
	}
	old := time.Now().Add(-time.Hour)
	unfinished, _ := filepath.Glob(filepath.Join(s.kept, atomicfile.TempPrefix+"*"))
	for _, d := range unfinished {
		if err := os.Chtimes(d, old, old); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Sweep(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.kept, "*")); len(left) > 1 { // the lock of names
		t.Errorf("left behind: %q", left)
	}
}

// settled checks VMs on which nobody works.
func settled(t *testing.T, s *Store) {
	t.Helper()
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range all {
		if slices.Contains(names, d.Record.Name) {
			t.Errorf("two VMs are called %s", d.Record.Name)
		}
		names = append(names, d.Record.Name)
		if st, err := d.Status(); err != nil || st.State.Live() || st.State == Stopped && st.End == nil {
			t.Errorf("nobody works on VM %s, and it is %+v, %v", d.Record.Label(), st, err)
		}
	}
	t.Logf("there are %q", names)
}

// TestWorker is a process of TestRandomWork.
func TestWorker(t *testing.T) {
	if os.Getenv(workIn) == "" {
		t.Skip("not a worker")
	}
	seed, err := strconv.ParseUint(os.Getenv(workSeed), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{T: t, store: store(os.Getenv(workIn)), random: rand.New(rand.NewPCG(seed, 1))}
	for range 150 {
		w.step()
	}
}

type worker struct {
	*testing.T

	store  *Store
	random *rand.Rand
}

// step does something that is legal or not.
func (w *worker) step() {
	name := string(rune('a' + w.random.IntN(4)))
	d, err := w.store.Find(name)
	if err != nil {
		w.allow(err, ErrNotFound)
	}
	switch op := w.random.IntN(10); {
	case op < 3:
		made, err := w.store.Create(w.Context(), Record{Name: name, Kept: true})
		if _, taken := errors.AsType[*ExistsError](err); taken {
			return
		}
		if w.allow(err) {
			w.inCharge(made)
			made.Unlock()
		}
	case err != nil: // there is none
	case op < 6:
		w.live(d)
	case op < 7:
		err := w.store.Rename(w.Context(), d, string(rune('a'+w.random.IntN(4))))
		if _, taken := errors.AsType[*ExistsError](err); !taken {
			w.allow(err, ErrNotFound)
		}
	case op < 8:
		if w.lock(d) {
			w.allow(d.Remove())
		}
	case op < 9:
		st, err := d.Status()
		if w.allow(err, ErrNotFound) && (st.State.Check(Restart, name) != nil || st.State == Stopped && st.End == nil) {
			w.Errorf("VM %s is %+v", name, st)
		}
	default:
		if removed, err := w.store.Sweep(); err != nil || len(removed) > 0 {
			w.Errorf("Sweep removed %q, %v", removed, err)
		}
	}
}

// live is what a monitor does in its life.
func (w *worker) live(d *Dir) {
	if !w.lock(d) {
		return
	}
	defer d.Unlock()
	for _, s := range []State{Starting, Running, Paused, Stopped} {
		st := Status{State: s, Monitor: os.Getpid()}
		if s == Stopped {
			st.End = &End{Code: 1}
		}
		if err := d.SetStatus(st); err != nil {
			w.Error(err)
		}
		if got, err := (&Dir{Path: d.Path, Record: d.Record}).Status(); err != nil || got.State != s {
			w.Errorf("the state was set to %s and is %+v, %v", s, got, err)
		}
	}
	w.inCharge(d)
}

// lock takes charge of a VM, if nobody else has, which then does not run.
func (w *worker) lock(d *Dir) bool {
	err := d.TryLock()
	if !w.allow(err, ErrBusy, ErrNotFound) {
		return false
	}
	if st, err := d.Status(); err != nil || st.State.Live() {
		w.Errorf("in its hands VM %s is %+v, %v", d.Record.Label(), st, err)
	}
	w.inCharge(d)
	return true
}

// inCharge fails the test if another process that lives is in charge as well.
func (w *worker) inCharge(d *Dir) {
	path := filepath.Join(d.Path, ownerName)
	if b, err := os.ReadFile(path); err == nil {
		var pid int
		if _, err := fmt.Sscan(string(b), &pid); err == nil && pid != os.Getpid() && unix.Kill(pid, 0) == nil && !zombie(pid) {
			w.Errorf("process %d is in charge of VM %s, too", pid, d.Record.Label())
		}
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		w.Error(err)
	}
	if err := os.Remove(path); err != nil {
		w.Error(err)
	}
}

// zombie reports whether a process is dead and not yet waited for.
func zombie(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z")
}

// allow reports whether there is no error, and fails the test for one that is none of
// those that may be.
func (w *worker) allow(err error, may ...error) bool {
	if err == nil {
		return true
	}
	if !slices.ContainsFunc(may, func(m error) bool { return errors.Is(err, m) }) {
		w.Error(err)
	}
	return false
}
