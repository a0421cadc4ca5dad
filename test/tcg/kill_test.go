//go:build tcg

package tcg

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/vmtest"
)

// TestKilledClients: a client that is killed in the middle of anything leaves a VM as
// if it had just left: what runs goes on, but for the programs that were its own.
func TestKilledClients(t *testing.T) {
	dirs := vmtest.Home(t)
	for _, args := range [][]string{
		{"run", "-d", "--name", "web", "--", "sh", "-c", ticker},
		{"start", "web"},
	} {
		p := vmtest.Start(t, args...)
		vmtest.WaitFor(t, func() bool { return strings.Contains(do(t, "ps"), holtStarting) }, func() string { return "it does not start" })
		vmtest.KillProcess(t, p.Cmd.Process.Pid)
		_ = p.Wait(t)
		vmtest.WaitFor(t, func() bool { return inspect(t, "web").State == holt.StateRunning }, func() string { return "it did not go on: " + do(t, "ps", "-a") })
		if args[0] == "run" {
			do(t, "kill", "web")
		}
	}
	all := waiters(t, "web")
	host := t.TempDir()
	all = append(all, await(t, true, "cp", "web:/tmp/big", host+"/big"))
	vmtest.WaitFor(t, func() bool {
		found, _ := filepath.Glob(host + "/*")
		return len(found) > 0
	}, func() string { return "cp copies nothing" })
	for _, w := range all {
		vmtest.KillProcess(t, w.cmd.Process.Pid)
		<-w.ended
	}
	// What execs ran is killed, the main program is not, and nobody is listed any more.
	var ps string
	vmtest.WaitFor(t, func() bool {
		ps = do(t, "exec", "web", "ps", "-o", "args")
		return !strings.Contains(ps, "sleep 600") && !strings.Contains(ps, "yes") && !strings.Contains(ps, "-sh")
	}, func() string { return "these go on:\n" + ps })
	if !strings.Contains(ps, "echo tick") || inspect(t, "web").State != holt.StateRunning {
		t.Errorf("the VM does not go on: %s", ps)
	}
	var sessions string // the one of ps, which has just ended, may be listed for a moment
	vmtest.WaitFor(t, func() bool {
		sessions = do(t, "exec", "ls", "web")
		return strings.Count(sessions, "\n") == 1 // the table's head
	}, func() string { return "sessions are left:\n" + sessions })
	do(t, "rm", "-f", "web")
	vmtest.EmptyHome(t, dirs)
}

const holtStarting = string(holt.StateStarting)

// TestKilledCreate: whenever `holt create` is killed, there is a VM or there is none.
func TestKilledCreate(t *testing.T) {
	dirs := vmtest.Home(t)
	for i := range 12 {
		name := fmt.Sprintf("vm%d", i)
		p := vmtest.Start(t, "create", "--name", name, "--", "true")
		time.Sleep(time.Duration(i) * 2 * time.Millisecond)
		vmtest.KillProcess(t, p.Cmd.Process.Pid)
		if r := p.Wait(t); r.Code == 0 && r.Stdout != name+"\n" {
			t.Errorf("create: %+v", r)
		}
		if r := vmtest.Run(t, "inspect", name); r.Code != 0 && !strings.Contains(r.Stderr, "no such VM") {
			t.Errorf("inspect: %+v", r)
		} else if r.Code != 0 {
			do(t, "create", "--name", name, "--", "true") // the name is not in use
		}
	}
	if names := strings.Fields(do(t, "ps", "-aq")); len(names) != 12 {
		t.Errorf("ps -aq: %q", names)
	}
	// What is unfinished counts as left behind when it is old.
	old := time.Now().Add(-time.Hour)
	unfinished, _ := filepath.Glob(filepath.Join(dirs.Data, "vms", atomicfile.TempPrefix+"*"))
	for _, dir := range unfinished {
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Error(err)
		}
	}
	do(t, "prune", "-a")
	vmtest.EmptyHome(t, dirs)
}

// TestKilledMonitor: when a monitor or its QEMU is killed, all who wait know why, the
// list tells the truth at once, and the VM can be started again. So it is when the
// whole host went down.
func TestKilledMonitor(t *testing.T) {
	dirs := vmtest.Home(t)
	do(t, "run", "-d", "--name", "web", "--", "sh", "-c", ticker)
	all := waiters(t, "web")
	victim := inspect(t, "web")
	begin := time.Now()
	vmtest.KillProcess(t, victim.MonitorPID)
	wantStopped(t, "the VM's monitor died")
	wantAllToKnow(t, all, begin, "the VM's monitor died")
	vmtest.WaitFor(t, func() bool { return len(vmtest.HomeProcesses(t, dirs)) == 0 },
		func() string { return fmt.Sprint("processes go on: ", vmtest.HomeProcesses(t, dirs)) })

	file := filepath.Join(victim.Directory, "state.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`"boot_id": "[^"]*"`).ReplaceAll(text, []byte(`"boot_id": "another"`))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	wantStopped(t, "the host was restarted")

	if os.Getenv("HOLT_BACKEND") != hypervisor.NameKVM { // which has no QEMU
		do(t, "start", "web")
		all = waiters(t, "web")
		begin = time.Now()
		vmtest.KillProcess(t, qemuOf(t, dirs))
		wantAllToKnow(t, all, begin, "qemu was killed")
		wantStopped(t, "qemu was killed")
	}
	if out := do(t, "prune"); out != "web\n" {
		t.Errorf("prune removed %q", out)
	}
	vmtest.EmptyHome(t, dirs)
}

// wantStopped fails the test unless the VM is soon listed as stopped, for this reason. A
// process that was killed takes a moment to let go of what it held.
func wantStopped(t *testing.T, why string) {
	t.Helper()
	begin, out := time.Now(), ""
	for time.Since(begin) < deathTime() && !strings.HasPrefix(out, "stopped 125 ") {
		out = do(t, "ps", "-a", "--format", "{{.State}} {{.ExitStatus}} {{.Error}}")
	}
	if !strings.HasPrefix(out, "stopped 125 ") || !strings.Contains(out, why) {
		t.Errorf("ps -a: %s; want stopped because of %q", out, why)
	}
}

// qemuOf is the only QEMU of a home.
func qemuOf(t *testing.T, dirs paths.Dirs) (pid int) {
	t.Helper()
	for p, args := range vmtest.HomeProcesses(t, dirs) {
		if strings.Contains(args, "/qemu-system") {
			pid = p
		}
	}
	if pid == 0 {
		t.Fatal("there is no QEMU")
	}
	return pid
}
