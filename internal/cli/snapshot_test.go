package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt"
)

// step is one holt command of several.
type step struct {
	args   string // fields
	status int
	want   string // a regular expression: of the output, or of a part of holt's own error
}

// runSteps runs holt again and again.
func runSteps(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		out, errOut, status := runHolt(t, "", strings.Fields(s.args)...)
		ok := regexp.MustCompile("^(?:" + s.want + ")$").MatchString(out)
		if s.status == holt.StatusHoltFailed {
			ok = regexp.MustCompile(s.want).MatchString(errOut)
		}
		if status != s.status || !ok {
			t.Errorf("holt %s: status %d, %q, %q; want %d, %q", s.args, status, out, errOut, s.status, s.want)
		}
	}
}

// savedVM makes the snapshot "warm" of a VM "web" whose guest is a fake, in directories
// of the test's own. It returns the VM's root directory.
func savedVM(t *testing.T) (root string) {
	t.Helper()
	t.Setenv("HOLT_HOME", t.TempDir())
	t.Cleanup(func() {
		names, _, _ := runHolt(t, "", "ps", "-aq")
		runHolt(t, "", append([]string{"rm", "-f", "none"}, strings.Fields(names)...)...)
	})
	root = t.TempDir()
	runSteps(t, []step{
		{"run -d --name web -m 64 --rootfs " + root + " -- sleep", 0, "web\n"},
		{"snapshot create web warm", 0, "warm\n"},
	})
	return root
}

// unfinished are the snapshots that somebody began.
func unfinished(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob(os.Getenv("HOLT_HOME") + "/data/snapshots/.tmp-*")
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func TestSnapshotsOfAVM(t *testing.T) {
	savedVM(t)
	runSteps(t, []step{
		{"snapshot create web warm", 125, `the name "warm" is in use by snapshot [0-9a-f]{12}`},
		{"snapshot create web .", 125, `snapshot name "."`},
		{"snapshot create none", 125, `no such VM: "none"`},
		{"snapshot create --diff web first", 0, "first\n"},
		{"snapshot create --diff web second", 0, "second\n"},
		{"snapshot create web", 0, "[0-9a-f]{12}\n"},
		{"snapshot ls -q", 0, "warm\nfirst\nsecond\n[0-9a-f]{12}\n"},
		{"snapshot ls", 0, "ID +NAME .*\n(.* web .* whole +yes\n){2}.* second +web .* 64 MiB .* changes since first +yes\n.* - .* whole +yes\n"},
		{"snapshot inspect --format {{.Name}}:{{.CPUFeatures}} warm second", 0, `warm:\[sse2\]\nsecond:\[sse2\]\n`},
		{"snapshot inspect none", 125, `no such snapshot: "none"`},
		{"snapshot verify second warm", 0, "second\nwarm\n"},
		{"snapshot rm first", 125, "first is needed by second: remove those first"},
		{"snapshot rm none", 125, `no such snapshot: "none"`},
		{"snapshot rm first second", 0, "second\nfirst\n"},
		{"snapshot rm warm none", 125, `no such snapshot: "none"`},
		{"snapshot ls -q", 0, "[0-9a-f]{12}\n"},
		{"rm -f web", 0, "web\n"},
		{"create --name idle --rootfs / -- true", 0, "idle\n"},
		{"snapshot create idle", 125, "cannot snapshot VM idle: it is created"},
	})
	if left := unfinished(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSnapshotJSON(t *testing.T) {
	savedVM(t)
	out, _, _ := runHolt(t, "", "snapshot", "create", "--json", "web", "two")
	var made holt.SnapshotInfo
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Name != "two" || made.VM != "web" || !made.Program || made.Config.MemoryMB != 64 {
		t.Errorf("%+v, %v", made, err)
	}
	for _, args := range []string{"snapshot ls --json", "snapshot inspect warm two"} {
		var list []holt.SnapshotInfo
		out, _, _ := runHolt(t, "", strings.Fields(args)...)
		if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 2 || list[1].ID != made.ID || list[0].Name != "warm" {
			t.Errorf("holt %s: %+v, %v", args, list, err)
		}
	}
}

func TestSnapshotArchives(t *testing.T) {
	savedVM(t)
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("warm.holt", []byte("what was there"), 0o644); err != nil {
		t.Fatal(err)
	}
	runSteps(t, []step{
		{"snapshot export none x.holt", 125, `no such snapshot: "none"`},
		{"snapshot export warm none/x.holt", 125, "make none/x.holt: .*no such file"},
		{"snapshot export warm /dev/null", 125, "/dev/null is no regular file"},
		{"snapshot export warm warm.holt", 0, ""},
		{"snapshot export --no-compress warm plain.holt", 0, ""},
		{"snapshot import warm.holt", 125, `the name "warm" is in use`},
		{"snapshot import --name again warm.holt", 0, "again\n"},
		{"snapshot rm warm", 0, "warm\n"},
		{"snapshot import plain.holt", 0, "warm\n"},
		{"snapshot verify warm again", 0, "warm\nagain\n"},
		{"snapshot import none.holt", 125, "open none.holt: no such file"},
	})
	archive, _, _ := runHolt(t, "", "snapshot", "export", "warm", "-")
	if out, errOut, _ := runHolt(t, archive, "snapshot", "import", "--name", "piped", "-"); out != "piped\n" {
		t.Errorf("import -: %q, %q", out, errOut)
	}
	if out, errOut, status := runHolt(t, archive[:len(archive)/2], "snapshot", "import", "--name", "half", "-"); status != 125 || out != "" || errOut == "" {
		t.Errorf("import of half an archive: %d, %q, %q", status, out, errOut)
	}
	info, err := os.Stat("warm.holt")
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	here, err := filepath.Glob("*")
	if hidden, _ := filepath.Glob(".tmp-*"); err != nil || len(here) != 2 || len(hidden) > 0 || len(unfinished(t)) > 0 {
		t.Errorf("left behind: %v, %v, %v", here, hidden, unfinished(t))
	}
}

// TestInterrupted: Ctrl-C leaves VMs as they were, and nothing half made.
func TestInterrupted(t *testing.T) {
	root := savedVM(t)
	runSteps(t, []step{{"run -d --name slow -m 64 --rootfs " + root + " -- sleep", 0, "slow\n"}})
	for args, want := range map[string]string{
		"snapshot create slow never":   "holt: interrupt signal received\n",
		"fork -n 3 slow":               "holt: interrupt signal received\n",
		"restore -d --name stuck warm": "holt: interrupt signal received\n",
		"restore --name stuck warm":    "",
		"restore --name stuck warm ls": "",
	} {
		cmd := holtProcess(t, strings.Fields(args)...)
		var errOut strings.Builder
		cmd.Stderr = &errOut
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(10 * time.Second); !isBusy(t) && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != statusInterrupted || errOut.String() != want || len(unfinished(t)) > 0 {
			t.Errorf("holt %s: %v, %q; left behind: %v", args, cmd.ProcessState, &errOut, unfinished(t))
		}
		runSteps(t, []step{{"snapshot ls -q", 0, "warm\n"}, {"ps -aq", 0, "web\nslow\n"}})
	}
}

// isBusy reports whether a fake guest says that something is under way, once.
func isBusy(t *testing.T) bool {
	t.Helper()
	found, err := filepath.Glob(os.Getenv("HOLT_HOME") + "/*/*/busy")
	more, merr := filepath.Glob(os.Getenv("HOLT_HOME") + "/*/*/*/busy")
	if err := errors.Join(err, merr); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(found, more...) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	return len(found)+len(more) > 0
}

func TestSnapshotHelpTeaches(t *testing.T) {
	for args, want := range map[string][]string{
		"":                       {"holt snapshot create", "restore", "fork"},
		"run --help":             {"--snapshot NAME", "--warm", "kvm backend"},
		"snapshot":               {"create", "ls", "inspect", "rm", "export", "import", "verify", "holt restore"},
		"snapshot create --help": {"--diff", "--json", "stands still"},
		"snapshot export --help": {"--no-compress", "passwords", "ssh HOST"},
		"restore --help":         {"Exit status", "127", "--prefetch", "holt restore -d", "none publishes nothing"},
		"fork --help":            {"--number", "NAME-1", "holt fork -n 3"},
	} {
		out, err := execute(strings.Fields(args)...)
		for _, text := range want {
			if err != nil || !strings.Contains(out, text) {
				t.Errorf("holt %s: %v, no %q in\n%s", args, err, text, out)
			}
		}
	}
}

func TestPrintSnapshots(t *testing.T) {
	now := time.Unix(1e9, 0)
	var out strings.Builder
	if err := printSnapshots(&out, []holt.SnapshotInfo{
		{ID: "0123456789ab", Name: "warm", VM: "web", Created: now.Add(-3 * time.Hour), MemoryBytes: 512 << 20, DiskBytes: 36 << 20, Program: true},
		{ID: "1123456789ab", VM: "e\x1b[2J", Created: now.Add(time.Second), Parent: "0123456789ab", MemoryBytes: 512 << 20, DiskBytes: 900},
		{ID: "2123456789ab", Created: now, Parent: "3123456789ab", MemoryBytes: 64 << 20},
	}, now); err != nil {
		t.Fatal(err)
	}
	want := "ID             NAME   VM           CREATED   MEMORY    SIZE      KIND                         PROGRAM\n" +
		"0123456789ab   warm   web          3h ago    512 MiB   36.0MiB   whole                        yes\n" +
		`1123456789ab   -      "e\x1b[2J"   0s ago    512 MiB   900B      changes since warm           no` + "\n" +
		"2123456789ab   -      -            0s ago    64 MiB    0B        changes since 3123456789ab   no\n"
	if out.String() != want {
		t.Errorf("%s, want\n%s", &out, want)
	}
}

func TestNoSnapshots(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	for args, want := range map[string]string{"snapshot ls": "ID   NAME", "snapshot ls --json": "[]\n", "snapshot ls -q": ""} {
		if out, err := execute(strings.Fields(args)...); err != nil || !strings.HasPrefix(out, want) || want == "" && out != "" {
			t.Errorf("holt %s: %q, %v", args, out, err)
		}
	}
}
