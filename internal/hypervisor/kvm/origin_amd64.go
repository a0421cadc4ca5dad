package kvm

import (
	"fmt"
	"sync"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
)

// goOn puts a machine that has its origin's memory, devices and vCPUs there where the
// origin was saved. All that is left to do is to let the vCPUs run.
func (m *machine) goOn(o hypervisor.Origin, p processor) error {
	if m.nested {
		return fmt.Errorf("go on from a saved state: %w", errNested)
	}
	s, err := decodeState(o.State)
	if err != nil {
		return fmt.Errorf("read saved state: %w", err)
	}
	if err := m.fits(s); err != nil {
		return fmt.Errorf("saved state: %w", err)
	}
	if err := checkProcessor(s.VCPUs, p); err != nil {
		return err
	}
	if err := m.loadState(s); err != nil {
		return fmt.Errorf("load saved state: %w", err)
	}
	// The first thing that the guest's kernel does is to look at the generation id,
	// and with a new one it reseeds its random numbers.
	if err := m.newGeneration(); err != nil {
		return err
	}
	for _, high := range []bool{true, false} {
		if err := m.vm.IRQLine(vmGenIDGSI, high); err != nil {
			return err
		}
	}
	if err := m.prefetch(o.WorkingSet); err != nil {
		return err
	}
	if err := m.setOff(s, o.Ready); err != nil {
		return err
	}
	begun := time.Now()
	m.begin = sync.OnceValue(func() error {
		if time.Since(begun) < time.Millisecond {
			return nil
		}
		return m.setOff(s, o.Ready)
	})
	for _, d := range m.devices {
		d.transport.Resume()
	}
	return nil
}

// setOff does what is to be done last: for the guest, time passes from then on. It is
// done here, so that what is wrong is known, and again by the first vCPU that runs if that
// had to wait: a guest that is a second late does other things first than it was about to.
func (m *machine) setOff(s State, ready func(*guestmem.Memory) error) error {
	if err := m.loadClocks(s); err != nil {
		return fmt.Errorf("load saved clocks: %w", err)
	}
	m.tellStopped()
	if ready == nil {
		return nil
	}
	return ready(m.mem)
}

// prefetch makes pages ready before the guest needs them. Linux from 6.11 on maps them
// for it, which saves an exit for each; any other reads them into this host's memory.
func (m *machine) prefetch(runs []guestmem.Run) error {
	ranges, err := m.mem.Ranges(runs)
	if err != nil {
		return fmt.Errorf("prefetch guest memory: %w", err)
	}
	for _, r := range ranges {
		if err := m.vcpus[0].api.PreFault(r.GuestAddr, r.Size); err != nil {
			m.log.Debug("the working set is read, not mapped", "reason", err)
			return m.mem.Prefetch(runs)
		}
	}
	return nil
}

// checkProcessor returns a *hypervisor.CPUError unless this host has what the guest
// was shown: it goes on believing that.
func checkProcessor(saved []VCPUState, p processor) error {
	host := p.cpuid(0)
	for _, s := range saved {
		e := &hypervisor.CPUError{Missing: missing(s.CPUID, host), Vendor: s.CPUID.vendor(), HostVendor: host.vendor()}
		if e.Vendor != e.HostVendor {
			return e
		}
		if e.Missing = append(e.Missing, missingImmunity(s, p.immune)...); len(e.Missing) > 0 {
			return e
		}
	}
	return nil
}

// vulnerabilities are the bits of IA32_ARCH_CAPABILITIES that say what a processor is
// vulnerable to, RSBA and RRSBA. The others say what it is not.
const vulnerabilities = 1<<2 | 1<<19

// missingImmunity is what the guest was told that its processor is not vulnerable to,
// and what this host's IA32_ARCH_CAPABILITIES does not say.
func missingImmunity(s VCPUState, host uint64) (names []string) {
	told, _ := msr(s.MSRs, msrArchCapabilities)
	lacks := told &^ host &^ vulnerabilities
	for n := range 64 {
		if lacks>>n&1 != 0 {
			names = append(names, fmt.Sprintf("arch_capabilities:%d", n))
		}
	}
	return names
}
