package kvmapi

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The controllers that tests look at (kvm.h, KVM_IRQCHIP_*).
const (
	picMaster = 0
	ioapic    = 2
)

// redirect sets an entry of the IOAPIC's redirection table, which lies behind
// base address, select register, id, irr and padding (struct
// kvm_ioapic_state).
func redirect(c *IRQChip, pin int, entry uint64) {
	binary.NativeEndian.PutUint64(c.Data[24+8*pin:], entry)
}

// listen lets pin interrupt the vCPU with vector, and returns whether it has.
func (m machine) listen(t *testing.T, pin, vector int) (pending func() bool) {
	t.Helper()
	chip, err := m.vm.IRQChip(ioapic)
	if err != nil {
		t.Fatal(err)
	}
	redirect(&chip, pin, uint64(vector))
	if err := m.vm.SetIRQChip(chip); err != nil {
		t.Fatal(err)
	}
	lapic, err := m.vcpu.LAPIC()
	if err != nil {
		t.Fatal(err)
	}
	lapic[0xF1] |= 1
	if err := m.vcpu.SetLAPIC(lapic); err != nil {
		t.Fatal(err)
	}
	return func() bool {
		lapic, err := m.vcpu.LAPIC()
		if err != nil {
			t.Fatal(err)
		}
		// The request register is eight words, 16 bytes from one another.
		return lapic[0x200+vector/32*16+vector%32/8]>>(vector%8)&1 == 1
	}
}

func eventfd(t *testing.T) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// signals reads how often fd was written to since the last time.
func signals(t *testing.T, fd int) uint64 {
	t.Helper()
	var b [8]byte
	if _, err := unix.Read(fd, b[:]); err == unix.EAGAIN {
		return 0
	} else if err != nil {
		t.Fatal(err)
	}
	return binary.NativeEndian.Uint64(b[:])
}

func signal(t *testing.T, fd int) {
	t.Helper()
	if _, err := unix.Write(fd, binary.NativeEndian.AppendUint64(nil, 1)); err != nil {
		t.Fatal(err)
	}
}

// TestIRQLine: an edge has arrived by the time that the call returns.
func TestIRQLine(t *testing.T) {
	m := newMachine(t, true)
	pending := m.listen(t, 6, 0x61)
	if err := m.vm.IRQLine(6, false); err != nil || pending() {
		t.Fatalf("a line that stays low: %v, an interrupt: %v", err, pending())
	}
	for _, high := range []bool{true, false} {
		if err := m.vm.IRQLine(6, high); err != nil {
			t.Fatal(err)
		}
		if !pending() {
			t.Errorf("high %v: no interrupt", high)
		}
	}
	if err := newMachine(t, false).vm.IRQLine(6, true); err == nil {
		t.Error("a machine without interrupt controllers has interrupt lines")
	}
}

func TestIRQFD(t *testing.T) {
	m := newMachine(t, true)
	pending := m.listen(t, 5, 0x51)
	fd := eventfd(t)
	if err := m.vm.IRQFD(fd, 5); err != nil {
		t.Fatal(err)
	}
	signal(t, fd)
	for end := time.Now().Add(5 * time.Second); !pending(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the eventfd's signal did not arrive")
		}
	}
	if err := m.vm.IRQFD(-1, 5); !errors.Is(err, unix.EBADF) {
		t.Errorf("no eventfd: %v, want %v", err, unix.EBADF)
	}
}

func TestIOEventFD(t *testing.T) {
	m := newMachine(t, false)
	one, every := eventfd(t), eventfd(t)
	value := uint64(1)
	for _, e := range []IOEventFD{
		{FD: one, Addr: deviceAddr + 0x50, Len: 4, Datamatch: &value},
		{FD: every, Addr: deviceAddr + 0x60},
	} {
		if err := m.vm.IOEventFD(e); err != nil {
			t.Fatal(err)
		}
		if err := m.vm.IOEventFD(e); !errors.Is(err, unix.EEXIST) {
			t.Errorf("a second one at the same place: %v, want %v", err, unix.EEXIST)
		}
	}
	m.load(t, []byte{
		0x66, 0xA3, 0x50, 0x00, // mov [0x50], eax
		0x66, 0xA3, 0x60, 0x00, // mov [0x60], eax
		0xA3, 0x60, 0x00, // mov [0x60], ax
		0x66, 0x40, // inc eax
		0x66, 0xA3, 0x50, 0x00, // mov [0x50], eax
	}, Regs{RAX: 1})
	m.run(t, ExitMMIO)
	if a := m.vcpu.MMIO(); a.Addr != deviceAddr+0x50 || a.Data[0] != 2 {
		t.Errorf("exit at %#x with % x, want the value that does not match", a.Addr, a.Data)
	}
	if n := signals(t, one); n != 1 {
		t.Errorf("%d signals for the value, want 1", n)
	}
	if n := signals(t, every); n != 2 {
		t.Errorf("%d signals for any write, want 2", n)
	}
}
