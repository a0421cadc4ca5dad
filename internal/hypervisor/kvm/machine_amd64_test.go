package kvm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/boot/boottest"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/rng"
)

// Pieces of 64-bit code for guests that are no Linux. They run on any /dev/kvm,
// also on one that only emulates.
var (
	codeSpin  = []byte{0xEB, 0xFE}                                // jmp .
	codeHalt  = []byte{0xF4, 0xEB, 0xFD}                          // hlt; jmp hlt
	codeOff   = append(out8(sleepControlPort, 0x34), codeHalt...) // S5
	codeReset = append(out8(resetPort, resetValue), codeHalt...)
	codePulse = append(out8(keyboardCommand, keyboardReset), codeHalt...)
)

// out8 writes a byte to a port.
func out8(port uint16, v byte) []byte {
	return []byte{0x66, 0xBA, byte(port), byte(port >> 8), 0xB0, v, 0xEE} // mov dx, port; mov al, v; out dx, al
}

// printText writes a text to the serial port.
func printText(text string) (code []byte) {
	for _, c := range []byte(text) {
		code = append(code, out8(serialPort, c)...)
	}
	return code
}

// spec is a machine that runs code.
func spec(t testing.TB, code []byte) hypervisor.Machine {
	t.Helper()
	if _, err := os.Stat("/dev/kvm"); err != nil {
		t.Skipf("this host has no KVM: %v", err)
	}
	path := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(path, boottest.PVHKernel(code), 0o600); err != nil {
		t.Fatal(err)
	}
	return hypervisor.Machine{VCPUs: 1, MemoryBytes: 64 << 20, Kernel: hypervisor.Kernel{Path: path}}
}

// launch starts a machine, which is gone at the end of the test.
func launch(t testing.TB, m hypervisor.Machine) hypervisor.VM {
	t.Helper()
	b, err := New()
	if err != nil {
		t.Fatal(err)
	}
	vm, err := b.Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vm.Kill)
	return vm
}

// wait waits for the machine's end.
func wait(t testing.TB, vm hypervisor.VM) error {
	t.Helper()
	select {
	case <-vm.Done():
		return vm.Err()
	case <-time.After(20 * time.Second):
		t.Fatal("the machine does not end")
		return nil
	}
}

func TestHowMachinesEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		code []byte
		want error
	}{
		{"power off", codeOff, nil},
		{"reset", codeReset, hypervisor.ErrReset},
		{"reset by the keyboard controller", codePulse, hypervisor.ErrReset},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := wait(t, launch(t, spec(t, c.code))); !errors.Is(err, c.want) || (c.want == nil && err != nil) {
				t.Errorf("ended with %v, want %v", err, c.want)
			}
		})
	}
}

func TestKill(t *testing.T) {
	for name, code := range map[string][]byte{"spinning": codeSpin, "halted": codeHalt} {
		t.Run(name, func(t *testing.T) {
			m := spec(t, code)
			m.VCPUs = 4 // of which three wait for the first to start them
			vm := launch(t, m)
			if err := vm.Err(); err != nil {
				t.Errorf("error %v before its end", err)
			}
			vm.Kill()
			vm.Kill()
			if err := wait(t, vm); err != nil {
				t.Errorf("a killed machine ended with %v", err)
			}
			if vm.Pause(t.Context()) == nil || vm.Resume(t.Context()) == nil {
				t.Error("a machine that has ended can be paused or resumed")
			}
		})
	}
}

func TestSerialConsole(t *testing.T) {
	var console bytes.Buffer
	m := spec(t, append(printText("hello from\nnowhere"), codeOff...))
	m.Console = &console
	if err := wait(t, launch(t, m)); err != nil {
		t.Fatal(err)
	}
	if got := console.String(); got != "hello from\nnowhere" {
		t.Errorf("the console has %q", got)
	}
}

// TestDeviceRegisters has the guest itself look for its first device.
func TestDeviceRegisters(t *testing.T) {
	code := []byte{
		0xB9, 0x00, 0x00, 0x00, 0xD0, // mov ecx, 0xD0000000
		0x81, 0x39, 'v', 'i', 'r', 't', // cmp dword [rcx], "virt"
		0x75, byte(len(codeOff)), // jne past codeOff
	}
	code = append(append(code, codeOff...), codeReset...)
	m := spec(t, code)
	if err := wait(t, launch(t, m)); !errors.Is(err, hypervisor.ErrReset) {
		t.Errorf("without a device the guest ended with %v, want a reset", err)
	}
	m.Devices = []virtio.Device{&rng.Device{}}
	if err := wait(t, launch(t, m)); err != nil {
		t.Errorf("the guest does not see its device: %v", err)
	}
}

func TestPauseHoldsTheGuest(t *testing.T) {
	m := spec(t, codeSpin)
	m.VCPUs = 3
	vm := launch(t, m)
	for range 10 {
		if err := vm.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := vm.CPUTime()
		time.Sleep(50 * time.Millisecond)
		if used := vm.CPUTime() - before; used > 15*time.Millisecond { // its threads may still be falling asleep
			t.Fatalf("a paused guest used %v of processor time", used)
		}
		if err := vm.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); vm.CPUTime() == before; {
			if time.Now().After(deadline) {
				t.Fatal("a resumed guest does not run")
			}
		}
	}
	if err := vm.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	vm.Kill() // a paused machine, too
}

// TestPauseGivesUp: a pause that is given up leaves the guest running.
func TestPauseGivesUp(t *testing.T) {
	vm := launch(t, spec(t, codeSpin))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if err := vm.Pause(ended); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if err := vm.Resume(t.Context()); err != nil { // it may have come about
			t.Fatal(err)
		}
		before := vm.CPUTime()
		for deadline := time.Now().Add(10 * time.Second); vm.CPUTime()-before < time.Millisecond; {
			if time.Now().After(deadline) {
				t.Fatal("the guest does not run")
			}
		}
	}
}

// TestPausesAndEnd has several goroutines pause, resume and kill one machine.
func TestPausesAndEnd(t *testing.T) {
	for range 20 {
		m := spec(t, codeSpin)
		m.VCPUs = 3
		vm := launch(t, m)
		for range 3 {
			go func() {
				for vm.Pause(context.Background()) == nil && vm.Resume(context.Background()) == nil {
				}
			}()
		}
		time.Sleep(2 * time.Millisecond)
		go vm.Kill()
		if err := wait(t, vm); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBadMachines(t *testing.T) {
	good := spec(t, codeSpin)
	for _, c := range []struct {
		name   string
		change func(*hypervisor.Machine)
		want   string
	}{
		{"no vCPU", func(m *hypervisor.Machine) { m.VCPUs = 0 }, "0 vCPUs: 1 to 64"},
		{"many vCPUs", func(m *hypervisor.Machine) { m.VCPUs = 65 }, "65 vCPUs: 1 to 64"},
		{"no memory", func(m *hypervisor.Machine) { m.MemoryBytes = 0 }, "0 bytes of memory"},
		{"odd memory", func(m *hypervisor.Machine) { m.MemoryBytes++ }, "a multiple of 1 MiB"},
		{"no kernel", func(m *hypervisor.Machine) { m.Kernel.Path = "/nowhere" }, "/nowhere"},
		{"long command line", func(m *hypervisor.Machine) { m.Cmdline = strings.Repeat("x", 2048) }, "command line"},
		{"no initramfs", func(m *hypervisor.Machine) { m.Initramfs = "/nowhere" }, "/nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := good
			c.change(&m)
			b, _ := New()
			if _, err := b.Start(t.Context(), m); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Backend{}).Start(ctx, good); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v for an ended context", err)
	}
}
