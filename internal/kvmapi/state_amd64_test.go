package kvmapi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// roundTrip reads a state, changes it, writes it and reads it again.
func roundTrip[T comparable](t *testing.T, get func() (T, error), set func(T) error, change func(*T)) {
	t.Helper()
	s, err := get()
	if err != nil {
		t.Fatal(err)
	}
	old := s
	change(&s)
	if s == old {
		t.Fatalf("nothing was changed in %+v", s)
	}
	if err := set(s); err != nil {
		t.Fatal(err)
	}
	got, err := get()
	if err != nil {
		t.Fatal(err)
	}
	if got != s {
		t.Errorf("wrote %+v\nread  %+v", s, got)
	}
}

func TestStateRoundTrips(t *testing.T) {
	m := newMachine(t, true)
	cpuid, err := m.dev.SupportedCPUID()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.vcpu.SetCPUID(cpuid); err != nil {
		t.Fatal(err)
	}
	t.Run("regs", func(t *testing.T) {
		roundTrip(t, m.vcpu.Regs, m.vcpu.SetRegs, func(r *Regs) {
			*r = Regs{RAX: 1, RBX: 2, RCX: 3, RDX: 4, RSI: 5, RDI: 6, RSP: 7, RBP: 8, R8: 9, R9: 10,
				R10: 11, R11: 12, R12: 13, R13: 14, R14: 15, R15: 1 << 63, RIP: 0x1234, RFLAGS: 0x46}
		})
	})
	t.Run("sregs", func(t *testing.T) {
		roundTrip(t, m.vcpu.Sregs, m.vcpu.SetSregs, func(s *Sregs) {
			s.GS.Base, s.FS.Selector, s.FS.Base = 0xABCDE, 0x1000, 0x10000
			s.GDT, s.IDT = Table{Base: 0x500, Limit: 31}, Table{Base: 0x600, Limit: 0xFFF}
			s.CR2, s.CR3, s.CR8 = 0x77777, 0x9000, 3
		})
	})
	t.Run("xcrs", func(t *testing.T) {
		x, err := m.vcpu.XCRs()
		if err != nil {
			t.Fatal(err)
		}
		if x.N != 1 || x.XCRs[0].XCR != 0 {
			t.Fatalf("%d extended control registers, the first is %d", x.N, x.XCRs[0].XCR)
		}
		roundTrip(t, m.vcpu.XCRs, m.vcpu.SetXCRs, func(x *XCRs) { x.XCRs[0].Value ^= 2 }) // SSE
	})
	t.Run("debug registers", func(t *testing.T) {
		roundTrip(t, m.vcpu.DebugRegs, m.vcpu.SetDebugRegs, func(d *DebugRegs) {
			d.DB = [4]uint64{0x1000, 0x2000, 0x3000, 0x4000}
			d.DR7 |= 0x55
		})
	})
	t.Run("events", func(t *testing.T) {
		roundTrip(t, m.vcpu.Events, m.vcpu.SetEvents, func(e *Events) {
			e.NMI.Masked, e.NMI.Pending = 1, 1 // the flag that lets Pending count is set
		})
	})
	t.Run("mp state", func(t *testing.T) {
		roundTrip(t, m.vcpu.MPState, m.vcpu.SetMPState, func(s *uint32) { *s = 3 }) // KVM_MP_STATE_HALTED
	})
	t.Run("lapic", func(t *testing.T) {
		roundTrip(t, m.vcpu.LAPIC, m.vcpu.SetLAPIC, func(l *LAPIC) {
			l[0xF1] |= 1    // spurious interrupt vector register: enabled
			l[0xD3] = 4     // logical destination register
			l[0x350] = 0x77 // LVT LINT0: the vector
		})
	})
	t.Run("ioapic", func(t *testing.T) {
		get := func() (IRQChip, error) { return m.vm.IRQChip(ioapic) }
		roundTrip(t, get, m.vm.SetIRQChip, func(c *IRQChip) { redirect(c, 5, 0x10045) })
	})
	t.Run("pic", func(t *testing.T) {
		get := func() (IRQChip, error) { return m.vm.IRQChip(picMaster) }
		roundTrip(t, get, m.vm.SetIRQChip, func(c *IRQChip) { c.Data[2] ^= 0xFB }) // imr
	})
}

func TestXSaveRoundTrip(t *testing.T) {
	m := newMachine(t, false)
	area, err := m.vcpu.XSave()
	if err != nil {
		t.Fatal(err)
	}
	if len(area) < xsaveSize {
		t.Fatalf("the area has %d bytes", len(area))
	}
	// Intel SDM volume 1, 13.4: XMM0 is at 160, and bit 1 of the header at 512
	// says that the SSE state counts.
	copy(area[160:], "sixteen bytes :)")
	area[512] |= 1 << 1
	if err := m.vcpu.SetXSave(area); err != nil {
		t.Fatal(err)
	}
	got, err := m.vcpu.XSave()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, area) {
		t.Error("the area came back different")
	}
	sregs, err := m.vcpu.Sregs()
	if err != nil {
		t.Fatal(err)
	}
	sregs.CR4 |= 1 << 9 // OSFXSR: SSE is allowed
	if err := m.vcpu.SetSregs(sregs); err != nil {
		t.Fatal(err)
	}
	m.load(t, []byte{0x26, 0x0F, 0x11, 0x06, 0x00, 0x20, 0xF4}, Regs{}) // movups es:[0x2000], xmm0; hlt
	m.run(t, ExitHLT)
	if xmm0 := m.mem[0x2000:0x2010]; string(xmm0) != "sixteen bytes :)" {
		t.Errorf("the guest's xmm0 is %q", xmm0)
	}
	// The kernel would read past the end of a shorter one.
	if err := m.vcpu.SetXSave(area[:len(area)-1]); err == nil {
		t.Error("an area that is too short was accepted")
	}
	if err := m.vcpu.SetXSave(nil); err == nil {
		t.Error("no area was accepted")
	}
}

func TestClock(t *testing.T) {
	m := newMachine(t, true)
	const hour = 3600e9
	if err := m.vm.SetClock(Clock{Clock: hour}); err != nil {
		t.Fatal(err)
	}
	c, err := m.vm.Clock()
	if err != nil {
		t.Fatal(err)
	}
	if c.Clock < hour || c.Clock > hour+600e9 {
		t.Errorf("the clock was set to an hour and is at %d ns", c.Clock)
	}
}

func TestTSCFrequency(t *testing.T) {
	m := newMachine(t, false)
	khz, err := m.vcpu.TSCKHz()
	if err != nil {
		t.Fatal(err)
	}
	if khz < 100_000 || khz > 20_000_000 {
		t.Errorf("the counter runs at %d kHz", khz)
	}
	if err := m.vcpu.SetTSCKHz(khz); err != nil {
		t.Errorf("the frequency that it has anyway: %v", err)
	}
}

func TestTranslate(t *testing.T) {
	m := newMachine(t, false)
	if phys, valid, err := m.vcpu.Translate(0x1234); err != nil || !valid || phys != 0x1234 {
		t.Errorf("without paging: %#x, %v, %v", phys, valid, err)
	}
	// Long mode: the third page of 2 MiB is mapped to 0.
	for addr, entry := range map[int]uint64{0x4000: 0x5003, 0x5000: 0x6003, 0x6010: 0x83} {
		binary.NativeEndian.PutUint64(m.mem[addr:], entry)
	}
	sregs, err := m.vcpu.Sregs()
	if err != nil {
		t.Fatal(err)
	}
	sregs.CR3 = 0x4000
	sregs.CR4 |= 1 << 5        // PAE
	sregs.EFER |= 1<<8 | 1<<10 // LME, LMA
	sregs.CR0 |= 1<<31 | 1<<0  // PG, PE
	sregs.CS.L, sregs.CS.G, sregs.CS.Type = 1, 1, 0xB
	if err := m.vcpu.SetSregs(sregs); err != nil {
		t.Fatal(err)
	}
	if phys, valid, err := m.vcpu.Translate(0x40_0123); err != nil || !valid || phys != 0x123 {
		t.Errorf("mapped: %#x, %v, %v", phys, valid, err)
	}
	if phys, valid, err := m.vcpu.Translate(0x80_0000); err != nil || valid {
		t.Errorf("not mapped: %#x, %v, %v", phys, valid, err)
	}
}

// A guest that never switched its clock on cannot be told of a pause.
func TestKVMClockCtrl(t *testing.T) {
	m := newMachine(t, true)
	if err := m.vcpu.KVMClockCtrl(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("without a clock: %v, want %v", err, unix.EINVAL)
	}
	// MSR_KVM_SYSTEM_TIME_NEW (Documentation/virt/kvm/x86/msr.rst): the clock
	// is at 0x3000; bit 0 switches it on.
	if err := m.vcpu.SetMSRs([]MSREntry{{Index: 0x4B56_4D01, Data: 0x3001}}); err != nil {
		t.Fatal(err)
	}
	if err := m.vcpu.KVMClockCtrl(); err != nil {
		t.Error(err)
	}
}

// TestPreFault maps memory, or learns that this host cannot; what is no memory is refused
// either way.
func TestPreFault(t *testing.T) {
	m := newMachine(t, false)
	err := m.vcpu.PreFault(0, uint64(len(m.mem)))
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		t.Logf("this host cannot: %v", err)
	} else if err != nil {
		t.Error(err)
	}
	if err := m.vcpu.PreFault(1<<30, 4096); err == nil {
		t.Error("an address without memory was mapped")
	}
}
