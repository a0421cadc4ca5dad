package kvmapi

import (
	"errors"
	"slices"
	"testing"
)

// Registers that every vCPU has (AMD64 APM volume 2, appendix A), and one that
// none has.
const (
	msrSysenterEIP = 0x176
	msrSTAR        = 0xC000_0081
	msrLSTAR       = 0xC000_0082
	msrNone        = 0xDEAD_0000
)

func TestMSRIndexList(t *testing.T) {
	m := newMachine(t, false)
	list, err := m.dev.MSRIndexList()
	if err != nil {
		t.Fatal(err)
	}
	for _, index := range []uint32{msrSysenterEIP, msrSTAR, msrLSTAR} {
		if !slices.Contains(list, index) {
			t.Errorf("%#x is not among the %d registers", index, len(list))
		}
	}
	slices.Sort(list)
	if n := len(slices.Compact(list)); n != len(list) {
		t.Errorf("%d registers, %d without repetition", len(list), n)
	}
}

func TestMSRs(t *testing.T) {
	m := newMachine(t, false)
	want := []MSREntry{{Index: msrSysenterEIP, Data: 0x1111}, {Index: msrSTAR, Data: 1 << 60}, {Index: msrLSTAR, Data: 0x3333}}
	if err := m.vcpu.SetMSRs(want); err != nil {
		t.Fatal(err)
	}
	got, err := m.vcpu.MSRs([]uint32{msrSysenterEIP, msrSTAR, msrLSTAR})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("wrote %+v\nread  %+v, %v", want, got, err)
	}
	got, err = m.vcpu.MSRs([]uint32{msrLSTAR, msrNone, msrSTAR})
	if err != nil || !slices.Equal(got, want[2:]) {
		t.Errorf("before the register that there is not: %+v, %v; want %+v", got, err, want[2:])
	}
	if got, err := m.vcpu.MSRs(nil); err != nil || len(got) != 0 {
		t.Errorf("no registers: %+v, %v", got, err)
	}
}

// TestFeatureMSRs: /dev/kvm tells what registers of features say.
func TestFeatureMSRs(t *testing.T) {
	const revision = 0x8B // of the microcode, IA32_BIOS_SIGN_ID: one of either vendor's
	m := newMachine(t, false)
	got, err := m.dev.FeatureMSRs([]uint32{revision, msrNone, revision})
	if err != nil || len(got) != 1 || got[0].Index != revision {
		t.Errorf("read %+v, %v; want %#x alone", got, err, revision)
	}
}

func TestRefusedMSR(t *testing.T) {
	m := newMachine(t, false)
	err := m.vcpu.SetMSRs([]MSREntry{{Index: msrSTAR, Data: 1}, {Index: msrNone}, {Index: msrLSTAR, Data: 2}})
	var refused *MSRError
	if !errors.As(err, &refused) || refused.Index != msrNone {
		t.Errorf("error is %v, want one that names %#x", err, msrNone)
	}
	got, err := m.vcpu.MSRs([]uint32{msrSTAR, msrLSTAR})
	if err != nil || len(got) != 2 || got[0].Data != 1 || got[1].Data != 0 {
		t.Errorf("around the refused one: %+v, %v; want 1 and 0", got, err)
	}
}

// More registers than one call may carry.
func TestManyMSRs(t *testing.T) {
	m := newMachine(t, false)
	const n = 2*maxMSRs + 5
	indices, entries := make([]uint32, n), make([]MSREntry, n)
	for i := range n {
		indices[i] = msrLSTAR
		entries[i] = MSREntry{Index: msrLSTAR, Data: uint64(i)}
	}
	if err := m.vcpu.SetMSRs(entries); err != nil {
		t.Fatal(err)
	}
	got, err := m.vcpu.MSRs(indices)
	if err != nil || len(got) != n || got[0].Data != n-1 {
		t.Errorf("%d of %d registers, %v", len(got), n, err)
	}
	indices[maxMSRs+3], entries[maxMSRs+3].Index = msrNone, msrNone
	if got, err = m.vcpu.MSRs(indices); err != nil || len(got) != maxMSRs+3 {
		t.Errorf("%d registers before the one that there is not, %v; want %d", len(got), err, maxMSRs+3)
	}
	var refused *MSRError
	if err := m.vcpu.SetMSRs(entries); !errors.As(err, &refused) || refused.Index != msrNone {
		t.Errorf("error is %v, want one that names %#x", err, msrNone)
	}
}
