//go:build kvm

package kvm

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holtvm/holt/internal/boot/boottest"
	"github.com/holtvm/holt/internal/vmtest"
)

// TestEndings: however a guest ends, the exit status is the documented one, the
// error says what happened, with the end of the console, and nothing is left.
func TestEndings(t *testing.T) {
	fault := filepath.Join(t.TempDir(), "fault")
	code := []byte{0x0F, 0x0B} // ud2, without anything that handles it
	if err := os.WriteFile(fault, boottest.PVHKernel(code), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		says []string
	}{
		{
			"power off",
			[]string{"--", "poweroff", "-f"},
			[]string{"the guest ended before its program did", "powered off"},
		},
		{
			"reset",
			[]string{"--", "reboot", "-f"},
			[]string{"the guest ended before its program did", "the guest kernel reset the machine"},
		},
		{
			// Our own kernel has no such trigger.
			"panic",
			[]string{"--kernel", kernelName(t, debianKernel), "--", "sh", "-c", "echo c > /proc/sysrq-trigger; sleep 60"},
			[]string{"reset the machine", "Kernel panic", "  | "},
		},
		{
			"triple fault",
			[]string{"--kernel", fault, "--", "true"},
			[]string{"triple-faulted on vCPU 0", "rip 0x", "cr3 0x", "console is empty"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := vmtest.Run(t, append([]string{"run", "--backend", "kvm"}, c.args...)...)
			t.Logf("%v: %s", r.Time, r.Stderr)
			if r.Code != 125 || r.Stdout != "" {
				t.Errorf("exit status %d, printed %q", r.Code, r.Stdout)
			}
			for _, text := range c.says {
				if !strings.Contains(r.Stderr, text) {
					t.Errorf("does not say %q", text)
				}
			}
			nothingLeft(t)
		})
	}
}

// TestSignalsEndMachines ends the two processes of a running VM from outside.
func TestSignalsEndMachines(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   string // of the process that gets the signal
		signal syscall.Signal
		code   int
		says   string
	}{
		{"SIGTERM for holt", " run ", syscall.SIGTERM, 143, ""},
		{"SIGKILL for the monitor", "/proc/self/exe monitor", syscall.SIGKILL, 125, "monitor died: signal: killed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := vmtest.Start(t, "run", "--backend", "kvm", "-c", "2", "--", "sh", "-c", "echo up; exec sleep 600")
			p.WaitOutput(t, "up\n")
			victims := vmtest.Tree(t, p.Cmd.Process.Pid, c.args)
			if len(victims) != 1 {
				t.Fatalf("processes that look like %q: %v", c.args, victims)
			}
			if err := syscall.Kill(victims[0], c.signal); err != nil {
				t.Fatal(err)
			}
			if r := p.Wait(t); r.Code != c.code || !strings.Contains(r.Stderr, c.says) {
				t.Errorf("exit status %d, %s", r.Code, r.Stderr)
			}
			nothingLeft(t)
		})
	}
}

// nothingLeft fails the test if a process or a VM's directory is still there.
func nothingLeft(t *testing.T) {
	t.Helper()
	vmtest.NothingLeft(t)
	if left, _ := filepath.Glob(filepath.Join(dirs(t).Runtime, "*")); len(left) > 0 {
		t.Errorf("left in the runtime directory: %v", left)
	}
}
