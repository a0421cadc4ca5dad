//go:build tcg

package tcg

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/vmtest"
)

// openVM opens a VM of the test's home.
func openVM(t *testing.T, name string) *holt.VM {
	t.Helper()
	vm, err := holt.Open(t.Context(), name, holt.WithBinary(vmtest.Holt(t)))
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// TestConcurrentExecs: many programs at once in one VM, each with its own input, output
// and status.
func TestConcurrentExecs(t *testing.T) {
	vmtest.Home(t)
	do(t, "run", "-d", "--name", "web", "--", "sleep", "3600")
	vm := openVM(t, "web")
	var all, in sync.WaitGroup
	n := vmtest.Times(200, 20)
	in.Add(n)
	begin := time.Now()
	for i := range n {
		all.Go(func() {
			input, feed := io.Pipe()
			var out, errs strings.Builder
			cmd := vm.Command(t.Context(), "sh", "-c", "read x; echo $x; echo $x >&2; exit $x")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &out, &errs
			err := cmd.Start()
			in.Done()
			if err != nil {
				t.Error(err)
				return
			}
			in.Wait() // until all of them run
			code := 1 + i%250
			word := fmt.Sprintf("%d\n", code)
			fmt.Fprint(feed, word)
			feed.Close()
			exit, ok := cmd.Wait().(*holt.ExitError)
			if !ok || exit.Code != code || out.String() != word || errs.String() != word {
				t.Errorf("program %d: %v, printed %q and %q", i, exit, &out, &errs)
			}
		})
	}
	all.Wait()
	t.Logf("%d programs at once in %v", n, time.Since(begin).Round(time.Millisecond))
}

// TestManyVMs: many VMs at once are listed and stopped.
func TestManyVMs(t *testing.T) {
	dirs := vmtest.Home(t)
	n := vmtest.Times(50, 5)
	begin := time.Now()
	slots := make(chan struct{}, 8)
	var all sync.WaitGroup
	names := make([]string, n)
	for i := range n {
		names[i] = fmt.Sprintf("vm%d", i)
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if r := vmtest.Run(t, "run", "-d", "-m", "64M", "--name", names[i], "--", "sleep", "3600"); r.Code != 0 {
				t.Errorf("VM %d: %+v", i, r)
			}
		})
	}
	all.Wait()
	t.Logf("%d VMs run after %v", n, time.Since(begin).Round(time.Millisecond))
	begin = time.Now()
	if out := do(t, "ps", "--filter", "state=running", "--format", "{{.Name}}"); len(strings.Fields(out)) != n {
		t.Errorf("ps shows %q", out)
	}
	t.Logf("listed in %v", time.Since(begin).Round(time.Millisecond))
	begin = time.Now()
	do(t, append([]string{"stop"}, names...)...)
	t.Logf("stopped in %v", time.Since(begin).Round(time.Millisecond))
	if out := do(t, "prune"); len(strings.Fields(out)) != n {
		t.Errorf("prune removed %q", out)
	}
	vmtest.EmptyHome(t, dirs)
}

// TestManyExecs: programs one after the other leave nothing behind: in the client, the
// monitor, QEMU and the agent no memory, descriptors or threads, and in the guest no
// processes.
func TestManyExecs(t *testing.T) {
	dirs := vmtest.Home(t)
	do(t, "run", "-d", "--name", "web", "--", "sleep", "3600")
	vm := openVM(t, "web")
	run := func(n int) {
		for range n {
			if err := vm.Command(t.Context(), "/bin/true").Run(); err != nil {
				t.Fatal(err)
			}
		}
	}
	pids := map[string]int{"the monitor": inspect(t, "web").MonitorPID}
	for pid, args := range vmtest.HomeProcesses(t, dirs) {
		if strings.Contains(args, "/qemu-system") {
			pids["QEMU"] = pid
		}
	}
	run(vmtest.Times(500, 80)) // whatever is made once, and what the collectors leave
	before, held, guest := vmtest.ResourcesNow(t), map[string]vmtest.Held{}, guestHolds(t, vm)
	for who, pid := range pids {
		held[who] = vmtest.HeldBy(t, pid)
	}
	n := vmtest.Times(10_000, 400)
	begin := time.Now()
	run(n)
	t.Logf("%d programs in %v", n, time.Since(begin).Round(time.Millisecond))

	vmtest.NothingGrew(t, before, vmtest.Resources{Files: 2, Threads: 4, Goroutines: 2, RSS: 8 << 20})
	for who, pid := range pids {
		before, now := held[who], vmtest.HeldBy(t, pid)
		t.Logf("%s: before: %v; now: %v", who, before, now)
		if now.Files > before.Files+2 || now.Threads > before.Threads+4 || now.Memory > before.Memory+16<<20 {
			t.Errorf("%s grew", who)
		}
	}
	now := guestHolds(t, vm)
	t.Logf("the agent: before: %v; now: %v", guest, now)
	if now.processes > guest.processes || now.files > guest.files || now.threads > guest.threads+4 || now.memory > guest.memory+4<<10 {
		t.Error("the agent grew")
	}
}

// held is what a guest's agent holds, and how many processes the guest has.
type held struct{ processes, files, threads, memory int } // memory in KiB

func (h held) String() string {
	return fmt.Sprintf("%d descriptors, %d threads, %d KiB, %d processes in the guest", h.files, h.threads, h.memory, h.processes)
}

func guestHolds(t *testing.T, vm *holt.VM) (h held) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), vmtest.Timeout)
	defer cancel()
	const script = `ls /proc | grep -c '^[0-9]'; ls /proc/1/fd | wc -l; ls /proc/1/task | wc -l; sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' /proc/1/status`
	out, err := vm.Command(ctx, "sh", "-c", script).Output()
	if err == nil {
		_, err = fmt.Sscan(string(out), &h.processes, &h.files, &h.threads, &h.memory)
	}
	if err != nil {
		t.Fatalf("count in the guest: %v: %q", err, out)
	}
	return h
}
