package kvm

import (
	"errors"
	"fmt"
	"time"

	"github.com/holtvm/holt/internal/kvmapi"
)

// A guest's kernel compares its clocks with each other twice a second, and stops to use
// the time stamp counter when the two have moved apart by half a millisecond (Linux,
// clocksource_watchdog). So KVM's clock and the counter are saved and loaded as one. Each
// takes a call of its own, between which a busy host may do other things: what is read
// and written is checked, and that is repeated.
const (
	clockTries = 8
	clockClose = 20 * time.Microsecond
)

var errNoTSC = errors.New("there is no time stamp counter")

// moment is what the clocks of a machine show at the same time.
type moment struct {
	clock uint64        // KVM's, ns
	tsc   uint64        // the first vCPU's time stamp counter
	apart time.Duration // between the two, at most
}

// clocks reads the clocks.
func (m *machine) clocks() (best moment, err error) {
	found := false
	for range clockTries {
		before, err := m.vm.Clock()
		if err != nil {
			return best, err
		}
		tsc, err := m.readTSC()
		if err != nil {
			return best, err
		}
		after, err := m.vm.Clock()
		if err != nil {
			return best, err
		}
		apart := time.Duration(after.Clock - before.Clock)
		if apart < 0 {
			continue // KVM found another measure for it meanwhile
		}
		if !found || apart < best.apart {
			best, found = moment{before.Clock + uint64(apart)/2, tsc, apart}, true
		}
		if best.apart <= clockClose {
			break
		}
	}
	if !found {
		return best, errors.New("KVM's clock does not go forward")
	}
	return best, nil
}

func (m *machine) readTSC() (uint64, error) {
	got, err := m.vcpus[0].api.MSRs([]uint32{msrTSC})
	if err != nil {
		return 0, err
	}
	tsc, ok := msr(got, msrTSC)
	if !ok {
		return 0, errNoTSC
	}
	return tsc, nil
}

// loadClocks lets the clocks go on from where s was saved. For the guest they go on from
// here, also when its vCPUs do not run yet.
func (m *machine) loadClocks(s State) error {
	begin := time.Now()
	tsc, err := m.loadTSC(s.VCPUs)
	if err != nil {
		return err
	}
	return m.loadClock(moment{clock: s.Clock, tsc: tsc}, begin)
}

// loadClock lets KVM's clock go on from where the saved one was, with the counters, which
// have gone on since loadTSC was called at begin. A host that does not know their
// frequency, or whose counter the guest sees as it is, leaves nothing to go by.
func (m *machine) loadClock(saved moment, begin time.Time) error {
	khz, err := m.vcpus[0].api.TSCKHz()
	if err != nil || khz == 0 {
		return m.setClock(saved.clock)
	}
	for range clockTries {
		tsc, err := m.readTSC()
		if err != nil {
			return err
		}
		passed := saved.until(tsc, khz)
		if passed > time.Since(begin)+time.Millisecond {
			return m.setClock(saved.clock)
		}
		if err := m.setClock(saved.clock + uint64(passed)); err != nil {
			return err
		}
		now, err := m.clocks()
		if err != nil {
			return err
		}
		if off := time.Duration(now.clock-saved.clock) - saved.until(now.tsc, khz); off.Abs() <= now.apart/2+clockClose {
			break
		}
	}
	return nil
}

// until is the time from m until the counter, which runs at khz, shows tsc; at most a
// minute.
func (m moment) until(tsc uint64, khz uint32) time.Duration {
	ticks := min(tsc-m.tsc, 60_000*uint64(khz))
	return time.Duration(ticks * uint64(time.Millisecond) / uint64(khz))
}

func (m *machine) setClock(ns uint64) error { return m.vm.SetClock(kvmapi.Clock{Clock: ns}) }

// farTSC is far more than KVM takes for the same moment, in cycles.
const farTSC = 1 << 62

// loadTSC lets the time stamp counters go on from where the first vCPU's was, and
// sets the timers that go by them. It returns what that was. Elsewhere they are all that
// clocks depend on.
//
// KVM takes a counter that is written within a second of what another one shows for
// an attempt at the same, and makes the two equal (x86.c, kvm_synchronize_tsc). That
// is what keeps the counters of several vCPUs together, whose values were read one
// after the other. But Linux before 6.6 also does so for the first one, which then
// stays at what a new machine begins with, if the guest is not a second old. So that
// is first moved away.
func (m *machine) loadTSC(saved []VCPUState) (now uint64, err error) {
	now, ok := msr(saved[0].MSRs, msrTSC)
	if !ok {
		return 0, errNoTSC
	}
	first := m.vcpus[0].api
	if err := first.SetMSRs([]kvmapi.MSREntry{{Index: msrTSC, Data: now + farTSC}}); err != nil {
		return 0, err
	}
	for i, c := range m.vcpus {
		clock := []kvmapi.MSREntry{{Index: msrTSC, Data: now}}
		if deadline, ok := msr(saved[i].MSRs, msrTSCDeadline); ok {
			clock = append(clock, kvmapi.MSREntry{Index: msrTSCDeadline, Data: deadline})
		}
		if err := c.api.SetMSRs(clock); err != nil {
			return 0, fmt.Errorf("vCPU %d: %w", i, err)
		}
	}
	return now, nil
}
