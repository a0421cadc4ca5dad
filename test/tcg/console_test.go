//go:build tcg

package tcg

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/hypervisor/kvm"
	"github.com/holtvm/holt/internal/hypervisor/qemu"
	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/console"
	"github.com/holtvm/holt/internal/vmtest"
)

// testKernels are the two kinds of kernel: one with the virtio console's driver
// built in, and one that gets it from the agent.
func testKernels(t *testing.T) []kernel.Kernel {
	t.Helper()
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	store := kernel.Open(dirs)
	k, err := store.Default()
	if err != nil {
		t.Fatal(err)
	}
	image, _ := vmtest.ModularKernel(t)
	modular, err := store.FromFile(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	return []kernel.Kernel{k, modular}
}

// TestConsoleSwitch: each line of the kernel's log is on the console once, and in
// order, though the kernel begins on the serial port and goes on on hvc0.
func TestConsoleSwitch(t *testing.T) {
	t.Parallel()
	for _, k := range testKernels(t) {
		t.Run(k.Name, func(t *testing.T) {
			dir := t.TempDir()
			out := filepath.Join(dir, "console")
			vmtest.Run(t, "run", "--kernel", k.Name, "--log-level", "debug", "--console-output", out, "-v", dir+":/out", "--", "sh", "-c",
				"cat /proc/consoles >/out/consoles; echo the program writes >/dev/console; dmesg -r >/out/dmesg").Want(t, 0, "")
			b, err := os.ReadFile(filepath.Join(dir, "consoles"))
			if lines := strings.Split(strings.TrimSpace(string(b)), "\n"); err != nil || len(lines) != 1 || !strings.HasPrefix(lines[0], "hvc0 ") {
				t.Errorf("consoles %q, %v", lines, err)
			}
			text, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(text, []byte("the program writes")) {
				t.Error("/dev/console does not lead to the console")
			}
			dmesg, err := os.ReadFile(filepath.Join(dir, "dmesg"))
			if err != nil {
				t.Fatal(err)
			}
			rest, lines := strings.ReplaceAll(string(text), "\r", ""), 0
			for line := range strings.Lines(string(dmesg)) {
				level, line, ok := strings.Cut(line, ">")
				if !ok || level == "<7" || level == "<15" || level == "<31" { // what is for debugging stays in the log
					continue
				}
				lines++
				if n := strings.Count(string(text), strings.TrimSuffix(line, "\n")); n == 0 {
					t.Errorf("lost: %s", line)
					continue
				}
				_, after, ok := strings.Cut(rest, line)
				if !ok {
					t.Errorf("not in order, or cut: %s", line)
					continue
				}
				rest = after
				if strings.Contains(rest, line) && strings.Count(string(dmesg), line) == 1 {
					t.Errorf("twice: %s", line)
				}
			}
			if lines < 100 {
				t.Errorf("the kernel's log has %d lines only", lines)
			}
		})
	}
}

// TestQuietConsole: a guest where all is well has nothing to say.
func TestQuietConsole(t *testing.T) {
	out := filepath.Join(t.TempDir(), "console")
	vmtest.Run(t, "run", "--console-output", out, "--", "echo", "all is well").Want(t, 0, "all is well\n")
	if b, err := os.ReadFile(out); err != nil || string(b) != "all is well\n" {
		t.Errorf("console_output is %q, %v", b, err)
	}
}

// TestPanicIsSeen: a kernel that panics when hvc0 is its console is heard to its end.
func TestPanicIsSeen(t *testing.T) {
	t.Parallel()
	for _, k := range testKernels(t) {
		t.Run(k.Name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "console")
			r := vmtest.Run(t, "run", "--kernel", k.Name, "--console-output", out, "--", "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60")
			const said = "Kernel panic - not syncing: sysrq triggered crash"
			if r.Code != 125 || !strings.Contains(r.Stderr, said) {
				t.Errorf("exit status %d: %s", r.Code, r.Stderr)
			}
			b, err := os.ReadFile(out)
			if n := strings.Count(string(b), said); err != nil || n < 1 || n > 2 { // and once where it ends
				t.Errorf("the panic is there %d times, %v", n, err)
			}
			for _, part := range []string{"Call Trace", "sysrq_handle_crash", "Kernel Offset"} {
				if !bytes.Contains(b, []byte(part)) {
					t.Errorf("the panic has no %q:\n%s", part, b)
				}
			}
		})
	}
}

// printed is a console that can be read while it is written.
type printed struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}

// TestPanicWithoutInit: a kernel without an initramfs panics, with the driver
// built in on hvc0, otherwise on the early console.
func TestPanicWithoutInit(t *testing.T) {
	t.Parallel()
	name := cmp.Or(os.Getenv("HOLT_BACKEND"), hypervisor.NameAuto)
	backend, err := hypervisor.Select(t.Context(), name, hypervisor.Options{KVM: kvm.New, QEMU: qemu.New})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range testKernels(t) {
		t.Run(k.Name, func(t *testing.T) {
			var out printed
			m := hypervisor.Machine{
				VCPUs:       1,
				MemoryBytes: 256 << 20,
				Kernel:      hypervisor.Kernel{Path: k.ImagePath(), PVH: k.PVH},
				Console:     &out,
				Devices:     []virtio.Device{console.New(&out, 0, 0)},
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			v, err := backend.Start(ctx, m)
			if err != nil {
				t.Fatal(err)
			}
			defer v.Kill()
			select {
			case <-v.Done():
			case <-ctx.Done():
				t.Fatal("the guest does not end")
			}
			if !errors.Is(v.Err(), hypervisor.ErrReset) {
				t.Errorf("ended with %v", v.Err())
			}
			text := out.b.String()
			if n := strings.Count(text, "Kernel panic - not syncing: VFS: Unable to mount root fs"); n < 1 || n > 2 {
				t.Errorf("the panic is there %d times:\n%s", n, text)
			}
		})
	}
}

// TestConsoleFlood: a guest that prints for ever is served all the same, and the
// host keeps no more than it said it would.
func TestConsoleFlood(t *testing.T) {
	out := filepath.Join(t.TempDir(), "console")
	p := vmtest.Start(t, "run", "-c", "2", "--console-output", out, "--", "sh", "-c",
		"yes 'this is printed for ever' >/dev/console & while :; do echo and this by the kernel; done >/dev/kmsg & "+
			"echo up; for i in 1 2 3 4 5; do sleep 1; echo tick $i; done")
	p.WaitOutput(t, "up\n")
	before := vmtest.ProcessTreeRSS(t, p.Cmd.Process.Pid, "holt")
	p.WaitOutput(t, "tick 4\n")
	after := vmtest.ProcessTreeRSS(t, p.Cmd.Process.Pid, "holt")
	r := p.Wait(t)
	r.Want(t, 0, "up\ntick 1\ntick 2\ntick 3\ntick 4\ntick 5\n")
	// Where the monitor holds the guest's memory, that is what grows.
	if after > before+(16<<20) && os.Getenv("HOLT_BACKEND") != hypervisor.NameKVM {
		t.Errorf("%d MiB resident, and %d before", after>>20, before>>20)
	}
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB printed, %d MiB resident, %d before; %v", info.Size()>>20, after>>20, before>>20, r.Time)
	// A guest that is emulated in an emulated guest prints a few KiB a second.
	if info.Size() < 8<<10 || info.Size() > 257<<20 {
		t.Errorf("console_output has %d bytes", info.Size())
	}
}
