package state

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/atomicfile"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("HOLT_TEST_CRASH_IN"); dir != "" {
		d, err := Create(dir, Info{})
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString(d.Info.ID)
		os.Exit(1) // without Remove: what a kill leaves behind
	}
	os.Exit(m.Run())
}

func TestCreateAndRemove(t *testing.T) {
	runtime := t.TempDir()
	d, err := Create(runtime, Info{Root: "/srv/root", Command: []string{"/bin/true"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(runtime, d.Info.ID, "vm.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got Info
	if err := json.Unmarshal(text, &got); err != nil || got.ID != d.Info.ID || got.Root != "/srv/root" {
		t.Errorf("vm.json: %s, %v", text, err)
	}
	if removed, err := Sweep(runtime); err != nil || len(removed) != 0 {
		t.Fatalf("Sweep of a live VM removed %v, %v", removed, err)
	}
	if err := d.Remove(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(runtime); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSweepRemovesTheDead(t *testing.T) {
	runtime := t.TempDir()
	live, err := Create(runtime, Info{})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Remove()

	crashed := exec.Command(os.Args[0])
	crashed.Env = append(os.Environ(), "HOLT_TEST_CRASH_IN="+runtime)
	id, _ := crashed.Output()
	if crashed.ProcessState.ExitCode() != 1 || len(id) != 12 {
		t.Fatalf("the crashing process: %v, %q", crashed.ProcessState, id)
	}
	stale := filepath.Join(runtime, atomicfile.TempPrefix+"stale")
	fresh := filepath.Join(runtime, atomicfile.TempPrefix+"fresh")
	foreign := filepath.Join(runtime, "foreign")
	for _, dir := range []string{stale, fresh, foreign} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(stale, old, old); err != nil {
		t.Fatal(err)
	}

	removed, err := Sweep(runtime)
	slices.Sort(removed)
	want := []string{string(id), filepath.Base(stale)}
	slices.Sort(want)
	if err != nil || !slices.Equal(removed, want) {
		t.Errorf("Sweep removed %v, %v; want %v", removed, err, want)
	}
	for _, dir := range []string{live.Path, fresh, foreign} {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("Sweep removed %s", dir)
		}
	}
}

func TestSweepWithoutRuntimeDirectory(t *testing.T) {
	if removed, err := Sweep(filepath.Join(t.TempDir(), "none")); err != nil || removed != nil {
		t.Errorf("Sweep = %v, %v", removed, err)
	}
}

func TestLockOutlivesTheCreator(t *testing.T) {
	runtime := t.TempDir()
	d, err := Create(runtime, Info{})
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sleep", "60")
	child.ExtraFiles = []*os.File{d.Lock}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	d.Lock.Close()
	if removed, _ := Sweep(runtime); len(removed) != 0 {
		t.Errorf("swept %v while another process holds the lock", removed)
	}
	child.Process.Kill()
	child.Wait()
	if removed, _ := Sweep(runtime); len(removed) != 1 {
		t.Errorf("swept %v after the last holder died", removed)
	}
}
