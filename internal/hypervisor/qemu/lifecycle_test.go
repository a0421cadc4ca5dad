package qemu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/balloon"
	"github.com/holtvm/holt/internal/virtio/rng"
)

const patience = 20 * time.Second

func waitDone(t *testing.T, v hypervisor.VM) {
	t.Helper()
	select {
	case <-v.Done():
	case <-time.After(patience):
		t.Fatal("the machine does not end")
	}
}

func TestStartErrors(t *testing.T) {
	for _, c := range []struct {
		mode string
		want string
		is   error
	}{
		{mode: "dies at once", want: "start qemu: qemu ended with status 1: qemu: no such machine"},
		{mode: "old", want: "qemu 7.1.1: too old: 7.2 or later is needed", is: ErrTooOld},
		{mode: "garbage", want: "parse a qmp message"},
		{mode: "silent", want: "start qemu: context deadline exceeded", is: context.DeadlineExceeded},
	} {
		t.Run(c.mode, func(t *testing.T) {
			b := fakeQEMU(t, c.mode)
			limit := patience
			if c.mode == "silent" {
				limit = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := b.Start(ctx, tinyMachine())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v is not %v", err, c.is)
			}
		})
	}
}

func TestEndings(t *testing.T) {
	for _, c := range []struct {
		mode string
		want string // "" for nil
		is   error
	}{
		{mode: "powers off"},
		{mode: "resets", want: "the guest kernel reset the machine", is: hypervisor.ErrReset},
		{mode: "is terminated", want: "qemu ended: host-signal"},
		{mode: "quits", want: "the guest had not powered off"},
		{mode: "crashes", want: "qemu was killed by signal 9 (killed)"},
		{mode: "dies after greeting", want: "qemu ended with status 3: again again"},
		{mode: "breaks a device", want: "virtio rng device: "},
		{mode: "leaves a device", want: "virtio rng device: qemu has hung up on it"},
	} {
		t.Run(c.mode, func(t *testing.T) {
			b := fakeQEMU(t, c.mode)
			m := tinyMachine()
			var console bytes.Buffer
			m.Console = &console
			m.Devices = []virtio.Device{&rng.Device{}}
			v, err := b.Start(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			waitDone(t, v)
			err = v.Err()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v is not %v", err, c.is)
			}
			if err != nil && len(err.Error()) > maxStderr+200 {
				t.Errorf("an error of %d bytes: QEMU's messages are not bounded", len(err.Error()))
			}
			if c.mode == "powers off" && console.String() != "last words\r\n" {
				t.Errorf("console has %q", console.String())
			}
		})
	}
}

func TestKill(t *testing.T) {
	b := fakeQEMU(t, "runs")
	v, err := b.Start(t.Context(), tinyMachine())
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-v.Done():
		t.Fatalf("ended by itself: %v", v.Err())
	case <-time.After(50 * time.Millisecond):
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(v.Kill)
	}
	wg.Wait()
	v.Kill()
	waitDone(t, v)
	if v.Err() != nil {
		t.Errorf("error %v after Kill, want none", v.Err())
	}
}

func TestPowerButton(t *testing.T) {
	b := fakeQEMU(t, "has a power button")
	v, err := b.Start(t.Context(), tinyMachine())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Kill()
	if err := v.PowerButton(); err == nil || !strings.Contains(err.Error(), "not now") {
		t.Errorf("error %v, want QEMU's", err)
	}
	if err := v.PowerButton(); err != nil {
		t.Error(err)
	}
	waitDone(t, v)
	if v.Err() != nil {
		t.Errorf("ended with %v", v.Err())
	}
	if v.PowerButton() == nil {
		t.Error("a machine that has ended has a power button")
	}
}

// TestStatsNameTheProcess: what QEMU takes of the host is found by its process.
func TestStatsNameTheProcess(t *testing.T) {
	b := fakeQEMU(t, "runs")
	v, err := b.Start(t.Context(), tinyMachine())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Kill()
	pids := v.Stats().Processes
	if len(pids) != 1 {
		t.Fatalf("processes %v, want one", pids)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pids[0]))
	if err != nil {
		t.Fatal(err)
	}
	// pid (name) state parent: proc_pid_stat(5)
	_, rest, _ := strings.Cut(string(stat), ") ")
	if parent := strings.Fields(rest)[1]; parent != strconv.Itoa(os.Getpid()) {
		t.Errorf("process %d is a child of %s, want of this one", pids[0], parent)
	}
	v.Kill()
	if s := v.Stats(); s.Processes != nil {
		t.Errorf("a machine that has ended says %+v", s)
	}
}

func TestCPUTime(t *testing.T) {
	b := fakeQEMU(t, "burns")
	v, err := b.Start(t.Context(), tinyMachine())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Kill()
	first := v.CPUTime()
	for deadline := time.Now().Add(patience); v.CPUTime() < first+100*time.Millisecond; {
		if time.Now().After(deadline) {
			t.Fatalf("cpu time went from %v to %v only", first, v.CPUTime())
		}
		time.Sleep(5 * time.Millisecond)
	}
	running := v.CPUTime()
	v.Kill()
	// What wait4 reports is rounded differently from the clock.
	if ended := v.CPUTime(); ended < running-20*time.Millisecond {
		t.Errorf("cpu time %v while running, %v after the end", running, ended)
	}
}

// A console that takes nothing must not stall the guest or the end.
func TestBrokenConsole(t *testing.T) {
	b := fakeQEMU(t, "powers off")
	m := tinyMachine()
	m.Console = brokenWriter{}
	v, err := b.Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	waitDone(t, v)
	if v.Err() != nil {
		t.Error(v.Err())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestChildGetsNothingElse(t *testing.T) {
	t.Setenv("HOLT_TEST_SECRET", "hunter2")
	b := fakeQEMU(t, "lists")
	var console bytes.Buffer
	m := tinyMachine()
	m.Console = &console
	m.Devices = []virtio.Device{&rng.Device{}}
	v, err := b.Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	waitDone(t, v)
	out := console.String()
	if strings.Contains(out, "hunter2") {
		t.Error("the environment reaches the child")
	}
	if n := strings.Count(out, "socket:"); n != 2 {
		t.Errorf("%d sockets, want QMP and one device:\n%s", n, out)
	}
}

func TestNothingLeaks(t *testing.T) {
	count := func() (fds, goroutines int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries), runtime.NumGoroutine()
	}
	run := func(mode string) {
		m := tinyMachine()
		m.Devices = []virtio.Device{&rng.Device{}}
		v, err := fakeQEMU(t, mode).Start(t.Context(), m)
		if err != nil {
			return
		}
		if mode == "runs" {
			v.Kill()
		}
		waitDone(t, v)
	}
	modes := []string{"runs", "powers off", "dies at once", "crashes", "breaks a device", "old"}
	run(modes[0]) // what is made once stays
	fds, goroutines := count()
	for _, mode := range modes {
		run(mode)
	}
	// Goroutines of a finished machine may still be on their last line.
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		f, g := count()
		if f <= fds && g <= goroutines {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors and %d goroutines, %d and %d before", f, g, fds, goroutines)
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	if err == nil && len(bytes.TrimSpace(b)) != 0 {
		t.Errorf("children %s are left", b)
	}
}

func TestNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("HOLT_QEMU", "")
	if _, err := New(false); !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "apt-get install qemu-system-x86") {
		t.Errorf("error %v, want ErrNotInstalled with what to do", err)
	}
	t.Setenv("HOLT_QEMU", "/nowhere/qemu")
	if _, err := New(false); err == nil || !strings.Contains(err.Error(), "HOLT_QEMU") {
		t.Errorf("error %v does not name HOLT_QEMU", err)
	}
}

// parentVar makes the test binary a process that starts a machine, prints the
// pid of its QEMU, and is killed.
const parentVar = "HOLT_TEST_PARENT"

func runParent() int {
	b, err := New(false)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	v, err := b.Start(context.Background(), tinyMachine())
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(v.(*vm).child.cmd.Process.Pid)
	select {}
}

func TestChildDiesWithUs(t *testing.T) {
	t.Run("running", func(t *testing.T) { childDiesWithUs(t, func(string) {}) })
	t.Run("held", func(t *testing.T) {
		childDiesWithUs(t, func(pid string) {
			if err := exec.Command("kill", "-STOP", pid).Run(); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func childDiesWithUs(t *testing.T, before func(pid string)) {
	fakeQEMU(t, "runs")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	parent.Env = append(os.Environ(), parentVar+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(line)
	alive := func() bool {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		// A process that nobody has reaped yet is dead too.
		return err == nil && !bytes.Contains(b, []byte(") Z "))
	}
	if !alive() {
		t.Fatalf("there is no process %q", pid)
	}
	before(pid)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed, as it should be
	for deadline := time.Now().Add(patience); alive(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %s outlives its parent", pid)
		}
	}
}

// A guest that runs guests under emulation is interrupted again and again, also
// before it knows what by.
func TestNestedGuestIsNudged(t *testing.T) {
	m := tinyMachine()
	m.Nested = true
	m.Devices = []virtio.Device{balloon.New(slog.New(slog.DiscardHandler))}
	vm, err := fakeQEMU(t, "is nudged").Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	waitDone(t, vm)
	if err := vm.Err(); err != nil {
		t.Error(err)
	}
}
