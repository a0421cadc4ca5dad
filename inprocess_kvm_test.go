package holt

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/boot/boottest"
	"github.com/holtvm/holt/internal/vmtest"
)

// codeUp prints a letter and a line feed on the serial port, and spins.
var codeUp = []byte{
	0x66, 0xBA, 0xF8, 0x03, // mov dx, 0x3F8
	0xB0, 'U', 0xEE, // mov al, 'U'; out dx, al
	0xB0, '\n', 0xEE,
	0xEB, 0xFE, // jmp .
}

// TestManyMachinesInOneProcess starts and kills machines on our own monitor, each
// once its guest runs. The next one has the same disk and the same port of the host,
// and in the end the process holds what it held before.
func TestManyMachinesInOneProcess(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the guest is x86-64 code")
	}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		t.Skipf("this host has no KVM: %v", err)
	}
	dir := t.TempDir()
	t.Setenv("HOLT_HOME", filepath.Join(dir, "home"))
	t.Setenv("HOLT_AGENT", filepath.Join(dir, "agent")) // which is never reached
	console := filepath.Join(dir, "console")
	cfg := DefaultConfig()
	cfg.VCPUCount, cfg.MemoryMB = 2, 64
	cfg.RootPath, cfg.ExecPath = t.TempDir(), "true"
	cfg.KernelPath, cfg.ConsoleOutput = filepath.Join(dir, "kernel"), console
	cfg.Disks = []Disk{{Path: filepath.Join(dir, "disk")}}
	cfg.PortMap = []PortPair{{HostIP: netip.MustParseAddr("127.0.0.1"), Host: freePort(t), Guest: 80}}
	cfg.PacketCapture = filepath.Join(dir, "pcap")
	for path, text := range map[string][]byte{cfg.Disks[0].Path: make([]byte, 1<<20), cfg.KernelPath: boottest.PVHKernel(codeUp), os.Getenv("HOLT_AGENT"): []byte("agent")} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	errRuns := errors.New("the guest runs")
	cycle := func() {
		t.Helper()
		vm, err := New(cfg, InProcess(), WithBackend("kvm"))
		if err != nil {
			t.Fatal(err)
		}
		vm.Log = io.Discard
		_ = os.Remove(console)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		ctx, runs := context.WithCancelCause(ctx)
		go func() {
			for ctx.Err() == nil {
				if text, _ := os.ReadFile(console); string(text) == "U\n" {
					runs(errRuns)
				}
				time.Sleep(200 * time.Microsecond)
			}
		}()
		err = vm.Start(ctx)
		if <-ctx.Done(); !errors.Is(context.Cause(ctx), errRuns) {
			t.Fatalf("the guest does not run: %v; Start: %v", context.Cause(ctx), err)
		}
	}
	cycles := vmtest.Times(500, 50)
	for range 5 { // to warm up
		cycle()
	}
	before := vmtest.ResourcesNow(t)
	start := time.Now()
	for range cycles {
		cycle()
	}
	t.Logf("%d machines, %v each", cycles, time.Since(start)/time.Duration(cycles))
	// The race detector keeps some memory for each thread that there was.
	vmtest.NothingGrew(t, before, vmtest.Resources{Threads: 4, RSS: int64(vmtest.Times(32, 8)) << 20})
	if left, _ := filepath.Glob(filepath.Join(dir, "home", "run", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// freePort returns a TCP port that nobody had a moment ago.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}
