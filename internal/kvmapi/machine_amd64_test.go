package kvmapi

import (
	"errors"
	"io/fs"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// machine is a VM with 64 KiB of memory at 0 and one vCPU.
type machine struct {
	dev  *Device
	vm   *VM
	vcpu *VCPU
	mem  []byte
}

// newMachine makes one, with the interrupt controllers if irqchip. The test's
// goroutine stays on its thread, which the vCPU belongs to.
func newMachine(t testing.TB, irqchip bool) machine {
	t.Helper()
	dev, err := Open()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		t.Skipf("this needs KVM: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	vm, err := dev.CreateVM()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vm.Close() })
	mem, err := unix.Mmap(-1, 0, 64<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	if err := vm.SetMemory(0, 0, mem); err != nil {
		t.Fatal(err)
	}
	if err := vm.SetTSSAddr(0xFFFB_D000); err != nil {
		t.Fatal(err)
	}
	if err := vm.SetIdentityMapAddr(0xFFFB_C000); err != nil {
		t.Fatal(err)
	}
	if irqchip {
		if err := vm.CreateIRQChip(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	vcpu, err := vm.CreateVCPU(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vcpu.Close() })
	return machine{dev, vm, vcpu, mem}
}

// codeAddr is where load puts the program, and deviceAddr where DS starts:
// outside of memory.
const (
	codeAddr   = 0x1000
	deviceAddr = 0xD000_0000
)

// load makes the vCPU start at code, in real mode, with the given registers.
// ES starts at 0, so that string instructions have somewhere to go.
func (m machine) load(t testing.TB, code []byte, regs Regs) {
	t.Helper()
	copy(m.mem[codeAddr:], code)
	sregs, err := m.vcpu.Sregs()
	if err != nil {
		t.Fatal(err)
	}
	sregs.CS.Base, sregs.CS.Selector = 0, 0
	sregs.ES.Base, sregs.ES.Selector = 0, 0
	sregs.DS.Base = deviceAddr
	if err := m.vcpu.SetSregs(sregs); err != nil {
		t.Fatal(err)
	}
	regs.RIP, regs.RFLAGS = codeAddr, 2
	if err := m.vcpu.SetRegs(regs); err != nil {
		t.Fatal(err)
	}
}

// run runs the vCPU to its next exit, which is to be want.
func (m machine) run(t testing.TB, want ExitReason) {
	t.Helper()
	for {
		err := m.vcpu.Run()
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatalf("run: %v", err)
		}
		break
	}
	if got := m.vcpu.ExitReason(); got != want {
		regs, _ := m.vcpu.Regs()
		t.Fatalf("exit is %v at %#x, want %v", got, regs.RIP, want)
	}
}

func TestCheckExtension(t *testing.T) {
	m := newMachine(t, false)
	if v, err := m.vm.CheckExtension(CapMaxVCPUs); err != nil || v < 1 {
		t.Errorf("%d vCPUs at most, %v", v, err)
	}
	const unknown = Cap(1 << 30)
	if v, err := m.vm.CheckExtension(unknown); err != nil || v != 0 {
		t.Errorf("an extension that nobody has: %d, %v", v, err)
	}
}

func TestClosedMachine(t *testing.T) {
	m := newMachine(t, false)
	if err := m.vm.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.vm.CheckExtension(CapMaxVCPUs); !errors.Is(err, unix.EBADF) {
		t.Errorf("a closed machine answers %v, want %v", err, unix.EBADF)
	}
}
