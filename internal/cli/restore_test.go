package cli

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holtvm/holt"
)

// TestRestore: programs in VMs that go on from a snapshot, and the VMs' ends.
func TestRestore(t *testing.T) {
	root := savedVM(t)
	runSteps(t, []step{
		{"run -d --name job -m 64 --rootfs " + root + " -- work", 0, "job\n"},
		{"snapshot create job", 0, "[0-9a-f]{12}\n"},
		{"run -d -i --name filter -m 64 --rootfs " + root + " -- cat", 0, "filter\n"},
		{"snapshot create filter filter", 0, "filter\n"},
	})
	quiet, _, _ := runHolt(t, "", "snapshot", "ls", "-q")
	job := strings.Fields(quiet)[1]
	runSteps(t, []step{
		{"restore " + job, 7, "goes on from the state of job\n"},
		{"restore " + job[:6], 7, "goes on from the state of job\n"},
		{"run --snapshot " + job, 7, "goes on from the state of job\n"},
		{"restore -i " + job, 125, "-i: the saved program has no standard input"},
		{"restore -t " + job, 125, "-t: the saved program has no terminal"},
		{"restore --name c1 -e A=1 -w /tmp -u nobody warm describe x", 0, `c1\|/tmp\|nobody\|A=1\|x\n`},
		{"run --name c2 --snapshot warm -e A=1 -w /tmp -- describe -x", 0, `c2\|/tmp\|\|A=1\|-x\n`},
		{"restore warm -- describe --json", 0, `\|\|\|--json\n`},
		{"restore -- warm fail", 3, ""},
		{"restore warm missing", 127, ""},
		{"restore --timeout 300ms warm sleep", 124, "waiting\n"},
		{"restore -it warm sh", 125, "-t with -i needs a terminal"},
		{"restore --name web warm describe", 125, `the name "web" is in use`},
		{"ps -aq", 0, "web\njob\nfilter\n"},
	})
	for _, args := range []string{"restore -i filter", "restore -i warm cat", "run -i --snapshot warm -- cat"} {
		if out, errOut, status := runHolt(t, "hello\n", strings.Fields(args)...); out != "hello\n" || status != 0 {
			t.Errorf("holt %s: %q, %q, %d", args, out, errOut, status)
		}
	}
	if left, _ := filepath.Glob(os.Getenv("HOLT_HOME") + "/run/*/vm.json"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestRestoreDetached: a VM that stays, or of which nothing stays.
func TestRestoreDetached(t *testing.T) {
	savedVM(t)
	runSteps(t, []step{
		{"restore -d --name one warm", 0, "one\n"},
		{"restore -d --name two --rm warm make all", 0, "two\n"},
		{"run -d --snapshot warm", 0, "[0-9a-f]{12}\n"},
		{"restore -d --name three warm missing", 127, ""},
		{"restore -d --name one warm", 125, `the name "one" is in use`},
		{"ps -q", 0, "web\none\ntwo\n[0-9a-f]{12}\n"},
		{"inspect --format {{.Kept}}:{{.AutoRemove}} one two", 0, "true:false\ntrue:true\n"},
	})
	started, _ := filepath.Glob(os.Getenv("HOLT_HOME") + "/data/vms/*/detached")
	if len(started) != 1 {
		t.Fatalf("sessions: %v", started)
	}
	if b, err := os.ReadFile(started[0]); string(b) != "make all" {
		t.Errorf("session %q, %v", b, err)
	}
}

func TestRecordWorkingSet(t *testing.T) {
	savedVM(t)
	noted := func() []string {
		found, _ := filepath.Glob(os.Getenv("HOLT_HOME") + "/data/snapshots/*/working-set")
		return found
	}
	runSteps(t, []step{{"restore warm fail", 3, ""}, {"restore --record warm missing", 127, ""}})
	if n := noted(); len(n) > 0 {
		t.Errorf("noted without --record, or without a program: %v", n)
	}
	runSteps(t, []step{{"restore --record warm fail", 3, ""}, {"restore --prefetch warm fail", 3, ""}})
	if n := noted(); len(n) != 1 {
		t.Errorf("noted: %v", n)
	}
}

// TestSignalsOfARestoredProgram: Ctrl-C goes to CMD, and the VM goes with it.
func TestSignalsOfARestoredProgram(t *testing.T) {
	savedVM(t)
	cmd := holtProcess(t, "restore", "warm", "sleep")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "waiting\n" {
		t.Errorf("%q, %v", line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+int(syscall.SIGINT) {
		t.Error(cmd.ProcessState)
	}
	runSteps(t, []step{{"ps -aq", 0, "web\n"}})
}

func TestFork(t *testing.T) {
	savedVM(t)
	runSteps(t, []step{
		{"fork web", 0, "[0-9a-f]{12}\n"},
		{"fork -n 2 --name copy --rm web", 0, "copy-1\ncopy-2\n"},
		{"fork -n 2 --name copy web", 125, `the name "copy-[12]" is in use`},
		{"fork none", 125, `no such VM: "none"`},
		{"ps -q", 0, "web\n[0-9a-f]{12}\ncopy-1\ncopy-2\n|web\n[0-9a-f]{12}\ncopy-2\ncopy-1\n"},
		{"inspect --format {{.Kept}}:{{.AutoRemove}} copy-1", 0, "true:true\n"},
	})
	out, errOut, _ := runHolt(t, "", "fork", "--json", "--name", "last", "web")
	var list []holt.Info
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].Name != "last" || list[0].State != holt.StateRunning {
		t.Errorf("%s, %v, %s", out, err, errOut)
	}
}

func TestRestoreMistakes(t *testing.T) {
	root := savedVM(t)
	dir := t.TempDir()
	steps := []step{
		{"restore", 125, "arguments, 0: usage: holt restore"},
		{"restore none", 125, `no such snapshot: "none"`},
		{"restore -d none", 125, `no such snapshot: "none"`},
		{"restore warm -d", 125, "flags such as -d stand before the snapshot's name"},
		{"restore warm --", 125, "name a program after --"},
		{"restore -u nobody warm", 125, "only a CMD can have others"},
		{"restore -d -e A=1 warm", 125, "only a CMD can have others"},
		{"restore -e A-B=1 warm env", 125, `key "A-B"`},
		{"restore -d -i warm", 125, "-i and -t are for a CMD"},
		{"restore --record warm", 125, "--record notes what a CMD has used"},
		{"restore --record -d warm make", 125, "--record notes what a CMD has used"},
		{"restore -d --timeout 1s warm", 125, "--timeout ends a VM that this command waits for"},
		{"restore --timeout -1s warm", 125, "must not be negative"},
		{"restore --name . warm", 125, `name "\."`},
		{"restore -v /tmp:/srv:ro warm", 125, "leave :ro out"},
		{"restore -v /tmp:srv warm", 125, "must be absolute"},
		{"restore -v /tmp:/srv warm", 125, `the saved VM has none at "/srv", but at \["/"\]`},
		{"restore --disk disk0 warm", 125, `must be name=file\[:ro\]`},
		{"restore --disk disk0=/x:rx warm", 125, "disk"},
		{"restore --disk disk0=/x warm", 125, "the saved VM has 0 disks"},
		{"restore -p none -p 80:80 warm", 125, "publishes nothing"},
		{"restore -p x warm", 125, `port pair "x"`},
		{"run --snapshot warm -m 1G --cpus 2 -- true", 125, "--memory has no meaning with --snapshot: .*\n.*--cpus has no meaning"},
		{"run --snapshot warm --disk /x -- true", 125, "'holt restore --disk' replaces them"},
		{"run --snapshot warm --warm -- true", 125, "--warm has no meaning"},
		{"run --snapshot none -- true", 125, `no such snapshot: "none"`},
		{"create --snapshot warm -- true", 125, "unknown flag: --snapshot"},
		{"create --warm -- true", 125, "unknown flag: --warm"},
		{"fork -n 0 web", 125, "--number 0: must be from 1 to 1000"},
		{"fork -n 2 -p 80:80 web", 125, "publish ports of one copy"},
		{"fork web other", 125, "arguments, 2: usage: holt fork"},
		{"snapshot create", 125, "arguments, 0: usage: holt snapshot create"},
		{"snapshot export warm", 125, "arguments, 1: usage: holt snapshot export"},
	}
	runSteps(t, steps)
	if err := os.Rename(root, dir+"/elsewhere"); err != nil {
		t.Fatal(err)
	}
	runSteps(t, []step{
		{"restore warm fail", 125, `no such file or directory: replace the one at "/"`},
		{"restore -v " + dir + "/elsewhere:/ warm fail", 3, ""},
	})
}
