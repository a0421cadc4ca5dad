package kvm

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/kvmapi"
)

// TestFeatureNames: the names are this kernel's. /proc/cpuinfo shows what the host's
// processor has, of which KVM may hide some, and adds some of its own.
func TestFeatureNames(t *testing.T) {
	spec(t, codeSpin) // needs KVM
	dev, err := kvmapi.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	leaves, err := dev.SupportedCPUID()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	_, flags, _ := strings.Cut(string(text), "flags")
	flags, _, _ = strings.Cut(flags, "\n")
	shown := strings.Fields(flags)
	names := featureNames(leaves)
	if !slices.IsSorted(names) || !slices.Contains(names, "sse2") {
		t.Errorf("the features are %v", names)
	}
	both := 0
	for _, name := range names {
		if slices.Contains(shown, name) {
			both++
		}
	}
	if both < 30 { // of x86-64 without anything else there are 35
		t.Errorf("%d of %v are in /proc/cpuinfo: %v", both, names, shown)
	}
}

func TestFeatureWordsAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range featureWords {
		names := strings.Fields(w.names)
		if len(names) > 32 {
			t.Errorf("leaf %x, %s: %d names", w.function, w.register, len(names))
		}
		for _, name := range names {
			if name != "-" && seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
	}
	// Bits by the manuals, to see that no list is off by one.
	for _, c := range []struct {
		name            string
		function, index uint32
		register        string
		bit             int
	}{
		{"pbe", leafFeatures, 0, "edx", 31},
		{"hypervisor", leafFeatures, 0, "ecx", 31},
		{"xsave", leafFeatures, 0, "ecx", 26},
		{"arat", leafPower, 0, "eax", 2},
		{"avx2", leafStructured, 0, "ebx", 5},
		{"avx512f", leafStructured, 0, "ebx", 16},
		{"avx512vl", leafStructured, 0, "ebx", 31},
		{"la57", leafStructured, 0, "ecx", 16},
		{"sgx_lc", leafStructured, 0, "ecx", 30},
		{"spec_ctrl_ssbd", leafStructured, 0, "edx", 31},
		{"amx_tile", leafStructured, 0, "edx", 24},
		{"lam", leafStructured, 1, "eax", 26},
		{"avx10", leafStructured, 1, "edx", 19},
		{"kvm_clocksource_stable_bit", leafKVM, 0, "eax", 24},
		{"mwaitx", leafExtFeatures, 0, "ecx", 29},
		{"topoext", leafExtFeatures, 0, "ecx", 22},
		{"lm", leafExtFeatures, 0, "edx", 29},
		{"nx", leafExtFeatures, 0, "edx", 20},
		{"constant_tsc", leafAdvancedPower, 0, "edx", 8},
		{"brs", leafAMDSizes, 0, "ebx", 31},
		{"amd_ibpb", leafAMDSizes, 0, "ebx", 12},
		{"sbpb", leafAMDFeatures, 0, "eax", 27},
		{"tsa_fill_no", leafAMDFeatures, 0, "ecx", 7},
	} {
		e := kvmapi.CPUIDEntry{Function: c.function, Index: c.index}
		*register(&e, c.register) = 1 << c.bit
		if got := featureNames(cpuid{e}); !slices.Equal(got, []string{c.name}) {
			t.Errorf("bit %d of leaf %#x, %d, %s is %v, want %s", c.bit, c.function, c.index, c.register, got, c.name)
		}
	}
	e := kvmapi.CPUIDEntry{Function: leafStructured, EDX: 1 << 12}
	if got := featureNames(cpuid{e}); !slices.Equal(got, []string{"leaf7.0.edx:12"}) {
		t.Errorf("a bit without a name is %v", got)
	}
}

// xsave is leaf 0xD of a host with these parts of the area, at the usual places.
func xsave(parts ...uint32) (leaves cpuid) {
	head := kvmapi.CPUIDEntry{Function: leafXSave, EAX: 3, EBX: 0x999, ECX: 0x999, Flags: kvmapi.CPUIDSignificantIndex}
	leaves = cpuid{head, {Function: leafXSave, Index: 1, EAX: 0xF, EBX: 0x999, ECX: 0x100, Flags: kvmapi.CPUIDSignificantIndex}}
	sizes := map[uint32][2]uint32{2: {256, 576}, 5: {64, 832}, 6: {512, 896}, 7: {1024, 1408}, 9: {8, 2432}}
	for _, n := range parts {
		leaves[0].EAX |= 1 << n
		leaves = append(leaves, kvmapi.CPUIDEntry{Function: leafXSave, Index: n, EAX: sizes[n][0], EBX: sizes[n][1], Flags: kvmapi.CPUIDSignificantIndex})
	}
	return leaves
}

func TestMissing(t *testing.T) {
	guest := append(cpuid{
		{Function: leafVendor, EBX: 0x756E6547, ECX: 0x6C65746E, EDX: 0x49656E69},
		{Function: leafFeatures, ECX: 1<<31 | 1<<12, EBX: 7},
		{Function: leafStructured, EBX: 1<<5 | 1<<16, EDX: 1 << 12},
		{Function: leafExtFeatures, EDX: 1<<29 | 1},
	}, xsave(2, 5)...)
	without := func(change func(cpuid) cpuid) cpuid { return change(slices.Clone(guest)) }
	for _, c := range []struct {
		name string
		host cpuid
		want string
	}{
		{"the same", guest, ""},
		{"more", without(func(l cpuid) cpuid { l[1].ECX, l[2].EBX = 0xFFFF_FFFF, 0xFFFF_FFFF; return l }), ""},
		{"no feature", without(func(l cpuid) cpuid { l[1].ECX, l[2].EBX = 1<<31, 1<<5; return l }), "avx512f fma"},
		{"without a name", without(func(l cpuid) cpuid { l[2].EDX = 0; return l }), "leaf7.0.edx:12"},
		{"no leaf", without(func(l cpuid) cpuid { return slices.Delete(l, 2, 3) }), "avx2 avx512f leaf7.0.edx:12"},
		{"what is no feature", without(func(l cpuid) cpuid { l[1].EBX, l[3].EDX = 1, 1<<29; return l }), ""},
		{"a part of the area", append(slices.Clone(guest[:4]), xsave(2)...), "xsave:5"},
		{"a part elsewhere", without(func(l cpuid) cpuid { l[len(l)-1].EBX = 960; return l }), "xsave:5 of 64 bytes at 832"},
	} {
		if got := strings.Join(missing(guest, c.host), " "); got != c.want {
			t.Errorf("%s: %q is missing, want %q", c.name, got, c.want)
		}
	}
}

// TestAnotherProcessor: a machine does not go on where its processor is not.
func TestAnotherProcessor(t *testing.T) {
	m := spec(t, codeSpin)
	m.VCPUs = 2
	guest := launch(t, m).(hypervisor.Saver)
	origin := save(t, guest)
	features := guest.Features()
	if !slices.Contains(features, "sse2") || !slices.Contains(features, "hypervisor") {
		t.Errorf("the guest was shown %v", features)
	}
	find := func(s State, vcpu int, function uint32) *kvmapi.CPUIDEntry {
		l := s.VCPUs[vcpu].CPUID
		return &l[slices.IndexFunc(l, func(e kvmapi.CPUIDEntry) bool { return e.Function == function })]
	}
	for _, c := range []struct {
		name   string
		change func(*State)
		want   hypervisor.CPUError
	}{
		{"features", func(s *State) { find(*s, 0, leafFeatures).EDX |= 1 << 30 }, hypervisor.CPUError{Missing: []string{"ia64"}}},
		{"features of another vCPU", func(s *State) { find(*s, 1, leafFeatures).ECX |= 1 << 10 }, hypervisor.CPUError{Missing: []string{"cid"}}},
		{"vendor", func(s *State) { find(*s, 0, leafVendor).EBX = 0x20202020 }, hypervisor.CPUError{Vendor: "    "}},
		{"immunity", func(s *State) {
			s.VCPUs[0].MSRs = append(slices.DeleteFunc(s.VCPUs[0].MSRs, func(m kvmapi.MSREntry) bool { return m.Index == msrArchCapabilities }),
				kvmapi.MSREntry{Index: msrArchCapabilities, Data: 1<<63 | vulnerabilities})
		}, hypervisor.CPUError{Missing: []string{"arch_capabilities:63"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := decodeState(origin.State)
			if err != nil {
				t.Fatal(err)
			}
			c.change(&s)
			o := *origin
			if o.State, err = encodeState(s); err != nil {
				t.Fatal(err)
			}
			m := m
			m.Origin = &o
			_, err = Backend{}.Start(t.Context(), m)
			got, ok := errors.AsType[*hypervisor.CPUError](err)
			switch {
			case !ok:
				t.Errorf("error %v", err)
			case !strings.HasPrefix(got.Vendor, c.want.Vendor) || (got.Vendor == got.HostVendor) == (c.want.Vendor != ""):
				t.Errorf("vendors %q and %q", got.Vendor, got.HostVendor)
			case c.want.Missing != nil && !slices.Equal(got.Missing, c.want.Missing):
				t.Errorf("missing are %v, want %v", got.Missing, c.want.Missing)
			}
		})
	}
}
