package kvm

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/kvmapi"
)

// guestTolerance is how far a guest lets its clocks move apart (Linux,
// clocksource_watchdog), and more than a host that is not busy needs.
const guestTolerance = 500 * time.Microsecond

// TestClocksGoOn: neither the time stamp counters nor KVM's clock know of the time
// between, and all counters show the same. The guest is younger than a second, and its
// machine has less to go by than that.
func TestClocksGoOn(t *testing.T) {
	m := spec(t, codeSpin)
	m.VCPUs = 3
	first := launch(t, m).(*vm)
	time.Sleep(200 * time.Millisecond)
	m.Origin = save(t, first)
	was, err := decodeState(m.Origin.State)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	m.Logger = first.m.log
	begin := time.Now()
	second, err := build(m)
	if err != nil {
		t.Fatal(err)
	}
	defer second.close()
	clock, err := second.vm.Clock()
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	if passed := time.Duration(clock.Clock - was.Clock); clock.Clock < was.Clock || passed > took {
		t.Errorf("KVM's clock was %d and is %d, %v later", was.Clock, clock.Clock, took)
	}
	perMS := uint64(was.VCPUs[0].TSCKHz)
	saved, _ := msr(was.VCPUs[0].MSRs, msrTSC)
	if perMS == 0 || saved > 60_000*perMS {
		t.Skip("this KVM shows guests the host's own counter")
	}
	at, err := second.clocks()
	if err != nil {
		t.Fatal(err)
	}
	passed := moment{was.Clock, saved, 0}.until(at.tsc, was.VCPUs[0].TSCKHz)
	off := time.Duration(at.clock-was.Clock) - passed
	t.Logf("KVM's clock is %v off the counter, whose reading took %v", off, at.apart)
	if off.Abs() > at.apart+guestTolerance {
		t.Errorf("the counter went on for %v, KVM's clock for %v", passed, time.Duration(at.clock-was.Clock))
	}
	now := make([]uint64, m.VCPUs)
	for i, c := range second.vcpus {
		got, err := c.api.MSRs([]uint32{msrTSC})
		if err != nil || len(got) != 1 {
			t.Fatalf("%v, %v", got, err)
		}
		now[i] = got[0].Data
	}
	took = time.Since(begin)
	most := perMS * uint64(took/time.Millisecond+1)
	if now[0] < saved || now[0]-saved > most {
		t.Errorf("the counter was %d and is %d, %v later", saved, now[0], took)
	}
	for i := 1; i < len(now); i++ {
		if now[i] < now[i-1] || now[i]-now[i-1] > most {
			t.Errorf("the counters are %d", now)
		}
	}
}

// TestMSRsOfAnotherKernel: what is zero and does not exist here is no loss, anything
// else is an error.
func TestMSRsOfAnotherKernel(t *testing.T) {
	m := quietMachine(t)
	c := m.vcpus[0].api
	for _, e := range []struct {
		msr  kvmapi.MSREntry
		want string
	}{
		{kvmapi.MSREntry{Index: 0xABCDEF}, ""},
		{kvmapi.MSREntry{Index: 0xABCDEF, Data: 1}, "does not exist on this host"},
		{kvmapi.MSREntry{Index: msrMTRRDefault, Data: 0xFFFF}, "set msr 0x2ff: refused, to 0xffff"},
		{kvmapi.MSREntry{Index: msrTSC, Data: 1}, ""},
	} {
		err := writeMSRs(c, m.msrs, []kvmapi.MSREntry{e.msr})
		if e.want == "" && err != nil || e.want != "" && (err == nil || !strings.Contains(err.Error(), e.want)) {
			t.Errorf("%+v: error %v, want %q", e.msr, err, e.want)
		}
	}
}

// TestHiddenMSRsAreNotSaved: they hold what the host is like, which the guest does not
// see.
func TestHiddenMSRsAreNotSaved(t *testing.T) {
	all := []uint32{msrTSC, msrArchCapabilities, msrPerfCapabilities}
	hyperV := []uint32{0x4000_0000, 0x4000_0020, 0x4000_0118}
	for _, c := range []struct {
		name  string
		shown cpuid
		want  []uint32
	}{
		{"nothing", nil, all[:1]},
		{"capabilities", cpuid{{Function: leafStructured, EDX: edxArchCap}}, all[:2]},
		{"both", cpuid{{Function: leafStructured, EDX: edxArchCap}, {Function: leafFeatures, ECX: ecxPDCM}}, all},
	} {
		if got := shownMSRs(append(hyperV, all...), c.shown); !slices.Equal(got, c.want) {
			t.Errorf("%s is shown: saved are %#x, want %#x", c.name, got, c.want)
		}
	}
}

// TestMemoryTypesAreSaved although KVM does not list them.
func TestMemoryTypesAreSaved(t *testing.T) {
	guest := launch(t, spec(t, codeSpin))
	if err := guest.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	msrs := stateOf(t, guest.(*vm)).VCPUs[0].MSRs
	if v, ok := msr(msrs, msrMTRRDefault); !ok || v != mtrrEnable|mtrrWriteBack {
		t.Errorf("the default memory type is %#x, saved: %v", v, ok)
	}
	for _, index := range []uint32{0x200, 0x20F, 0x250, 0x268, 0x26F} {
		if _, ok := msr(msrs, index); !ok {
			t.Errorf("MSR %#x is not saved", index)
		}
	}
}
