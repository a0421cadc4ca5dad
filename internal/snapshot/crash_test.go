package snapshot

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/vmtest"
)

const (
	// crashIn and crashAt make a process of this binary one that does something in a
	// store and is killed at a step of it.
	crashIn   = "HOLT_TEST_CRASH_IN"
	crashAt   = "HOLT_TEST_CRASH_AT"
	crashDoes = "HOLT_TEST_CRASH_DOES"

	// workIn and workSeed make it one that does many things, until it is killed.
	workIn   = "HOLT_TEST_WORK_IN"
	workSeed = "HOLT_TEST_WORK_SEED"
)

// crash does what the environment says.
func crash(dir string) error {
	at, err := strconv.Atoi(os.Getenv(crashAt))
	if err != nil {
		return err
	}
	s := OpenAt(dir)
	s.step = func() {
		if at--; at == 0 {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	base, err := s.Find("base")
	if err != nil {
		return err
	}
	return does[os.Getenv(crashDoes)](s, base)
}

// does is what is interrupted. Each leaves a snapshot "made" or does not, and never
// half of one.
var does = map[string]func(s *Store, base *Snapshot) error{
	"make": func(s *Store, base *Snapshot) error {
		_, err := take(context.Background(), s, "made", base.Manifest.ID, pages{2: 2})
		return err
	},
	"import": func(s *Store, base *Snapshot) error {
		var b bytes.Buffer
		if err := base.Export(context.Background(), &b, true); err != nil {
			return err
		}
		_, err := s.Import(context.Background(), &b, "made")
		return err
	},
	"working set": func(_ *Store, base *Snapshot) error {
		return base.AddWorkingSet(context.Background(), []guestmem.Run{{Page: 1, Count: 1}})
	},
}

// TestKilledAtEachStep kills a process after each of its steps. What it was making is
// there, complete, or is not; and nothing of it stays after the next sweep.
func TestKilledAtEachStep(t *testing.T) {
	for what := range does {
		t.Run(what, func(t *testing.T) {
			var before, after int
			for at := 1; ; at++ {
				s := OpenAt(t.TempDir())
				mustTake(t, s, "base", nil, pages{1: 1})
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), crashIn+"="+s.dir, crashAt+"="+strconv.Itoa(at), crashDoes+"="+what)
				out, err := cmd.CombinedOutput()
				if err == nil {
					break // it has fewer steps
				}
				if err.Error() != "signal: killed" {
					t.Fatalf("step %d: %v\n%s", at, err, out)
				}
				check(t, s)
				switch _, err := s.Find("made"); {
				case err == nil:
					after++
				case errors.Is(err, ErrNotFound):
					before++
				default:
					t.Error(err)
				}
				mustTake(t, s, "again", nil, nil) // nothing is locked
			}
			if what == "working set" {
				if before != 1 {
					t.Errorf("%d steps", before)
				}
			} else if before < 8 || after < 2 {
				t.Errorf("%d steps before it was there and %d after", before, after)
			}
		})
	}
}

// check checks a store that nobody works on: every snapshot is whole, has its parent
// and a name of its own, and nothing else stays after a sweep.
func check(t *testing.T, s *Store) {
	t.Helper()
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, one := range all {
		if err := one.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(one.Path(), lockName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("snapshot %s has a lock: %v", one.Manifest.Label(), err)
		}
		if names[one.Manifest.Name] {
			t.Errorf("two snapshots are called %s", one.Manifest.Name)
		}
		names[one.Manifest.Name] = true
	}
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if left := inStore(t, s); len(left) != len(all) {
		t.Errorf("%d snapshots, and there are %v", len(all), left)
	}
}

// TestKilledAtAnyTime: several processes make, remove, export and import snapshots in
// one store, and are killed at any time.
func TestKilledAtAnyTime(t *testing.T) {
	s := OpenAt(t.TempDir())
	random := rand.New(rand.NewPCG(vmtest.Seed(t), 0))
	for range vmtest.Times(100, 5) {
		var workers sync.WaitGroup
		for range 3 {
			cmd := exec.Command(os.Args[0], "-test.run", "^TestWorker$")
			cmd.Env = append(os.Environ(), workIn+"="+s.dir, workSeed+"="+strconv.FormatUint(random.Uint64(), 10))
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			life := time.Duration(50+random.IntN(250)) * time.Millisecond
			workers.Go(func() {
				defer time.AfterFunc(life, func() { _ = cmd.Process.Kill() }).Stop()
				if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
					t.Errorf("a worker: %v\n%s", err, &out)
				}
			})
		}
		workers.Wait()
		check(t, s)
	}
}

// TestWorker is a process of TestKilledAtAnyTime.
func TestWorker(t *testing.T) {
	dir := os.Getenv(workIn)
	if dir == "" {
		t.Skip("only as a process of TestKilledAtAnyTime")
	}
	seed, err := strconv.ParseUint(os.Getenv(workSeed), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(seed, 0))
	s := OpenAt(dir)
	for t.Context().Err() == nil {
		name := "n" + strconv.Itoa(random.IntN(6))
		if err := work(t, s, name, random); err != nil && !expected(err) {
			t.Fatal(err)
		}
	}
}

// work does one thing with a snapshot of some name.
func work(t *testing.T, s *Store, name string, random *rand.Rand) error {
	one, err := s.Find(name)
	if err != nil {
		parent := ""
		if below, err := s.Find("n" + strconv.Itoa(random.IntN(6))); err == nil && random.IntN(2) == 0 {
			parent = below.Manifest.ID
		}
		_, err = take(t.Context(), s, name, parent, pages{random.Uint32N(256): 1})
		return err
	}
	if random.IntN(3) > 0 {
		return s.Remove(t.Context(), one)
	}
	var b bytes.Buffer
	if err := one.Export(t.Context(), &b, false); err != nil {
		return err
	}
	_, err = s.Import(t.Context(), &b, "n"+strconv.Itoa(random.IntN(6)))
	return err
}

// expected reports whether an error is another process's doing.
func expected(err error) bool {
	if _, ok := errors.AsType[*ExistsError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*InUseError](err); ok {
		return true
	}
	return errors.Is(err, ErrNotFound) || errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "more than 64")
}
