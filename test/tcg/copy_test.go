//go:build tcg

package tcg

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/filetree"
	"github.com/holtvm/holt/internal/vmtest"
)

// TestCopyTree: a tree of many files goes into a guest and comes back as it was, with
// its modes, times, links and names.
func TestCopyTree(t *testing.T) {
	vmtest.Home(t)
	do(t, "run", "-d", "--name", "web", "--", "sleep", "3600")
	source, back := t.TempDir(), filepath.Join(t.TempDir(), "back")
	n := vmtest.Times(20_000, 2_000)
	plantTree(t, source, n)
	begin := time.Now()
	do(t, "cp", "-q", source, "web:/tree")
	t.Logf("%d files in, in %v", n, time.Since(begin).Round(time.Millisecond))
	begin = time.Now()
	do(t, "cp", "-q", "web:/tree", back)
	t.Logf("%d files out, in %v", n, time.Since(begin).Round(time.Millisecond))
	want, got := listTree(t, source), listTree(t, back)
	if len(want) < n || !maps.Equal(want, got) {
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if got[name] != want[name] {
				t.Fatalf("of %d files, %d came back; %q was %s and is %s", len(want), len(got), name, want[name], got[name])
			}
		}
		t.Errorf("%d files came back, of %d", len(got), len(want))
	}
}

// plantTree makes n files, and links, below dir.
func plantTree(t *testing.T, dir string, n int) {
	t.Helper()
	var errs []error
	random := rand.New(rand.NewPCG(1, 2))
	at := time.Unix(1_700_000_000, 0)
	modes := []os.FileMode{0o644, 0o600, 0o755, 0o400, 0, 0o711, 0o666}
	for i := range n {
		below := filepath.Join(dir, fmt.Sprintf("d %d", i/100), "\xff\nodd")
		if i%100 == 0 {
			errs = append(errs, os.MkdirAll(below, 0o750))
		}
		name := filepath.Join(below, fmt.Sprintf("-f %d\n\xfe", i))
		switch i % 50 {
		case 1:
			errs = append(errs, os.Symlink(fmt.Sprintf("../../nowhere\n%d", i), name))
		case 2: // the one before the link
			errs = append(errs, os.Link(filepath.Join(below, fmt.Sprintf("-f %d\n\xfe", i-2)), name))
		default:
			text := bytes.Repeat([]byte{byte(i)}, random.IntN(2000))
			errs = append(errs, os.WriteFile(name, text, 0o600), os.Chmod(name, modes[i%len(modes)]),
				os.Chtimes(name, at, at.Add(time.Duration(i)*time.Second+time.Duration(random.IntN(1e9)))))
		}
	}
	for i := 0; i < n; i += 100 {
		below := filepath.Join(dir, fmt.Sprintf("d %d", i/100), "\xff\nodd")
		errs = append(errs, os.Chtimes(below, at, at.Add(-time.Duration(i)*time.Minute)))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// listTree is what a tree consists of, by name.
func listTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	r, err := filetree.Open(dir, filetree.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all := map[string]string{}
	for {
		e, data, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if data != nil {
			if _, err := io.Copy(sum, data); err != nil {
				t.Fatal(err)
			}
		}
		path := string(e.Path)
		e.Path = ""
		all[path] = fmt.Sprintf("%+v %x", e, sum.Sum(nil)[:8])
	}
}

// TestCopyLargeFile: a file that is larger than the memory of everybody concerned goes
// into a guest and comes back, and nobody holds more than a part of it.
func TestCopyLargeFile(t *testing.T) {
	vmtest.Home(t)
	shared, dir := t.TempDir(), t.TempDir()
	size := int64(vmtest.Times(4096, 128)) << 20
	source, back := filepath.Join(dir, "source"), filepath.Join(dir, "back")
	f, err := os.Create(source)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < size; at += 10_000_019 {
		if _, err := f.WriteAt([]byte(fmt.Sprint("at ", at)), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	do(t, "run", "-d", "--name", "web", "-m", "96M", "-v", shared+":/data", "--", "sleep", "3600")
	monitor := inspect(t, "web").MonitorPID
	before := vmtest.HeldBy(t, monitor)
	for _, c := range [][]string{{source, "web:/data/big"}, {"web:/data/big", back}} {
		cmd := exec.CommandContext(t.Context(), vmtest.Holt(t), "cp", c[0], c[1]) // it may take long
		begin, ended := time.Now(), make(chan error)
		go func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("cp %s: %w: %s", c, err, out)
			}
			ended <- err
		}()
		var most int64
	watch:
		for {
			select {
			case err := <-ended:
				if err != nil {
					t.Fatal(err)
				}
				break watch
			case <-time.After(20 * time.Millisecond):
				most = max(most, vmtest.HeldBy(t, monitor).Memory)
			}
		}
		client := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
		t.Logf("cp %s: %d MiB in %v; the client had %d MiB at most, the monitor %d MiB, %d before", c,
			size>>20, time.Since(begin).Round(time.Millisecond), client>>20, most>>20, before.Memory>>20)
		if client > 64<<20 || most > before.Memory+32<<20 {
			t.Error("that is a part of the file")
		}
	}
	agent := do(t, "exec", "web", "grep", "VmHWM", "/proc/1/status")
	var kib int
	if _, err := fmt.Sscanf(agent, "VmHWM: %d kB", &kib); err != nil || kib > 24<<10 {
		t.Errorf("the agent's memory: %q, %v", agent, err)
	}
	if want, got := sumFile(t, source), sumFile(t, back); want != got || want != sumFile(t, filepath.Join(shared, "big")) {
		t.Error("what came back differs")
	}
	t.Log(strings.TrimSpace(agent))
}

func sumFile(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(sum.Sum(nil))
}
