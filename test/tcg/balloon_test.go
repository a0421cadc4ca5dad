//go:build tcg

package tcg

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/vmtest"
)

// fillAndFree is a guest's program that goes on at each line of its input: it fills
// a file in memory, removes it, and fills it again.
const fillAndFree = `
sum=$(md5sum </bin/busybox); echo up; read -r line
dd if=/dev/zero of=/tmp/f bs=1M count=300 2>/dev/null; echo full; read -r line
rm /tmp/f; echo gone; read -r line
dd if=/dev/zero of=/tmp/f bs=1M count=300 2>/dev/null; echo again; read -r line
echo 3 >/proc/sys/vm/drop_caches; [ "$(md5sum </bin/busybox)" = "$sum" ] && echo whole
`

// TestMemoryComesBack: memory that the guest used and freed is the host's again, and
// can be the guest's another time.
func TestMemoryComesBack(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, k := range testKernels(t) {
		t.Run(k.Name, func(t *testing.T) {
			name := "balloon-" + strings.ReplaceAll(k.Name, ".", "-")
			cmd := vmtest.Command{Args: []string{"run", "--name", name, "--kernel", k.Name, "-m", "768", "-i", "--", "sh", "-c", fillAndFree}}
			p, stdin := cmd.StartWithStdin(t)
			step := func(name string) int64 {
				p.WaitOutput(t, name+"\n")
				return guestMemory(t, p.Cmd.Process.Pid)
			}
			start := step("up")
			fmt.Fprintln(stdin)
			full := step("full")
			fmt.Fprintln(stdin)
			p.WaitOutput(t, "gone\n")
			began := time.Now()
			var after int64
			// The guest reports two seconds later, and what it could not merge
			// into large blocks by then after two more.
			for after = full; after >= start+40*mib; time.Sleep(20 * time.Millisecond) {
				if after = guestMemory(t, p.Cmd.Process.Pid); time.Since(began) > time.Minute {
					state := vmtest.Run(t, "exec", name, "sh", "-c", "cat /proc/interrupts /proc/buddyinfo; ps -ef")
					t.Fatalf("%d MiB at the start, %d MiB with the file, %d MiB without; in the guest:\n%s%s",
						start/mib, full/mib, after/mib, state.Stdout, state.Stderr)
				}
			}
			took := time.Since(began)
			fmt.Fprintln(stdin)
			again := step("again")
			t.Logf("%d MiB at the start, %d with 300 MiB in use, %d after %v, %d with 300 again",
				start/mib, full/mib, after/mib, took.Round(100*time.Millisecond), again/mib)
			if full < start+280*mib || again < start+280*mib {
				t.Error("what is in use is not seen: this test shows nothing")
			}
			fmt.Fprintln(stdin)
			p.WaitOutput(t, "whole\n")
			stdin.Close()
			p.Wait(t).Want(t, 0, "up\nfull\ngone\nagain\nwhole\n")
		})
	}
}

// guestMemory is how much of the guest's memory the host has in use, in bytes, for
// the VM of the holt process pid.
func guestMemory(t *testing.T, pid int) int64 {
	t.Helper()
	process, field := "qemu-system", "RssShmem"
	if os.Getenv("HOLT_BACKEND") == hypervisor.NameKVM {
		process, field = "/proc/self/exe monitor", "RssAnon"
	}
	pids := vmtest.Tree(t, pid, process)
	if len(pids) == 0 {
		t.Fatalf("no process of the VM that looks like %q", process)
	}
	memory, err := vmtest.ProcessMemory(pids[0], field)
	if err != nil {
		t.Fatal(err)
	}
	return memory
}
