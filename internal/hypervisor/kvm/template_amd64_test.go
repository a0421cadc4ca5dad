package kvm

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
)

// hostWithEverything is an AMD processor with every feature bit, as far as KVM shows
// it, and parts of the XSAVE area that no template has.
func hostWithEverything() cpuid {
	host := cpuid{
		{Function: leafVendor, EAX: 0x24, EBX: 0x68747541, ECX: 0x444D4163, EDX: 0x69746E65},
		allOnes(leafFeatures, 0), allOnes(0x2, 0), allOnes(leafPower, 0),
		allOnes(leafStructured, 0), allOnes(leafStructured, 1), allOnes(leafStructured, 2),
		allOnes(0x14, 0), allOnes(0x1D, 0), allOnes(0x24, 0),
		{Function: leafHypervisor, EAX: leafKVM, EBX: 0x4B4D564B, ECX: 0x564B4D56, EDX: 0x4D}, allOnes(leafKVM, 0),
		{Function: leafExtended, EAX: leafAMDPerfmon}, allOnes(leafExtFeatures, 0), allOnes(leafAdvancedPower, 0), allOnes(leafAMDSizes, 0),
		cache(leafAMDCaches, 0, 1, 1), cache(leafAMDCaches, 1, 0, 0), allOnes(leafAMDTopology, 0), allOnes(leafEncryption, 0), allOnes(leafAMDFeatures, 0), allOnes(leafAMDPerfmon, 0),
	}
	return append(host, xsave(2, 5, 6, 7, 9)...)
}

// What is shown at each level of a host that has everything, beside allowsV2.
const (
	wantV2 = "cmov cx8 fpu fxsr mmx syscall sse sse2 cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
	wantV3 = wantV2 + " avx avx2 bmi1 bmi2 f16c fma abm movbe xsave aes pclmulqdq rdrand fsgsbase smep erms xsaveopt"
)

func TestTemplates(t *testing.T) {
	names := hypervisor.CPUTemplates()
	if len(names) != len(templates) {
		t.Fatalf("%d names for %d templates", len(names), len(templates))
	}
	for _, c := range []struct {
		name, want string
		xsave      uint32 // parts of the area
		size       uint32
	}{
		{hypervisor.CPUTemplateV2, wantV2, 0, 0},
		{hypervisor.CPUTemplateV3, wantV3, 7, 832},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := hostWithEverything()
			p := processor{leaves: host, count: 2, tscKHz: 1_000_000, tscDeadline: true}
			if err := p.limit(c.name); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(host, hostWithEverything()) {
				t.Error("the host's own leaves changed")
			}
			leaves := p.cpuid(0)
			want := strings.Fields(c.want + allowsV2)
			slices.Sort(want)
			if got := featureNames(leaves); !slices.Equal(got, want) {
				t.Errorf("shown are\n%v, want\n%v", got, want)
			}
			for _, e := range leaves {
				if e.Function&0xFFFF > 0xFF || slices.Contains([]uint32{0x14, 0x1D, 0x24, leafEncryption, leafAMDPerfmon}, e.Function) || e.Function == leafStructured && e.Index > 0 {
					t.Errorf("leaf %#x, %d is shown", e.Function, e.Index)
				}
			}
			if e := leaves.leaf(leafStructured, 0); e.EAX != 0 {
				t.Errorf("leaf 7 has %d more indices", e.EAX)
			}
			// On AMD's processors some bits are in both leaves.
			if e, same := leaves.leaf(leafExtFeatures, 0), leaves.leaf(leafFeatures, 0); (e.EDX^same.EDX)&edxDuplicate != 0 {
				t.Errorf("leaf 1 shows %#x, leaf 0x80000001 %#x", same.EDX, e.EDX)
			}
			if got := has(leaves, leafXSave); got != (c.xsave != 0) {
				t.Errorf("leaf 0xD is there: %v", got)
			}
			if e := leaves.leaf(leafXSave, 0); e.EAX != c.xsave || e.EDX != 0 || e.ECX != c.size {
				t.Errorf("the XSAVE area is %+v", e)
			}
			if e := leaves.leaf(leafXSave, 1); e.EBX != 0 || e.ECX != 0 {
				t.Errorf("the XSAVE area has parts for kernels: %+v", e)
			}
			for n := uint32(2); n < 64; n++ {
				if e := leaves.leaf(leafXSave, n); (e.EAX != 0) != (c.xsave>>n&1 != 0) {
					t.Errorf("part %d of the XSAVE area: %+v", n, e)
				}
			}
			if last := leaves.leaf(leafVendor, 0).EAX; last < leafTopology || last > leafXSave {
				t.Errorf("the last leaf is %#x", last)
			}
			if e := leaves.leaf(leafTiming, 0); e.EAX != p.tscKHz {
				t.Errorf("the timing leaf is %+v", e)
			}
		})
	}
}

// TestTemplateNeeds: each feature of a level is needed, and no other.
func TestTemplateNeeds(t *testing.T) {
	for name, want := range map[string]string{hypervisor.CPUTemplateV2: levelV2, hypervisor.CPUTemplateV3: levelV3} {
		for _, w := range featureWords {
			for feature := range strings.FieldsSeq(w.names) {
				if feature == "-" {
					continue
				}
				p := processor{leaves: hostWithEverything(), count: 1}
				for i := range p.leaves {
					if e := &p.leaves[i]; e.Function == w.function && e.Index == w.index {
						*register(e, w.register) &^= w.mask([]string{feature})
					}
				}
				err := p.limit(name)
				needed := slices.Contains(strings.Fields(want), feature)
				if lacks, ok := errors.AsType[*hypervisor.CPUError](err); ok != needed || ok && !slices.Equal(lacks.Missing, []string{feature}) {
					t.Errorf("%s on a host without %s: error %v", name, feature, err)
				}
			}
		}
	}
	nested := processor{leaves: hostWithEverything(), count: 1, nested: true}
	if err := nested.limit(hypervisor.CPUTemplateV2); err == nil || !strings.Contains(err.Error(), "nested") {
		t.Errorf("nested virtualization: error %v", err)
	}
	if err := (&processor{}).limit("x86-64-v9"); err == nil || !strings.Contains(err.Error(), "x86-64-v2, x86-64-v3") {
		t.Errorf("a template that does not exist: error %v", err)
	}
}

// TestTemplateInTheGuest has the guest itself ask, and go on elsewhere, where the
// template plays no part.
func TestTemplateInTheGuest(t *testing.T) {
	code := []byte{
		0xB8, 1, 0, 0, 0, // mov eax, 1
		0x31, 0xC9, // xor ecx, ecx
		0x0F, 0xA2, // cpuid
		0x89, 0x0C, 0x25, 0x00, 0x80, 0x00, 0x00, // mov [0x8000], ecx
	}
	// Of both levels an outer VM has everything but this: see docs/testing.md.
	levels := maps.Clone(templates)
	t.Cleanup(func() { templates = levels })
	templates = maps.Clone(templates)
	for name, level := range templates {
		level.needs = strings.ReplaceAll(level.needs, " cx16", "")
		templates[name] = level
	}
	m := spec(t, append(code, codeSpin...))
	for _, m.CPUTemplate = range hypervisor.CPUTemplates() {
		t.Run(m.CPUTemplate, func(t *testing.T) {
			guest, err := Backend{}.Start(t.Context(), m)
			if lacks, ok := errors.AsType[*hypervisor.CPUError](err); ok {
				t.Skipf("this host has no such level: %v", lacks)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(guest.Kill)
			first := guest.(hypervisor.Saver)
			time.Sleep(20 * time.Millisecond)
			m := m
			m.Origin = save(t, first)
			err = first.Look(func(mem *guestmem.Memory) error {
				if got, want := uint32(number(t, mem, 0x8000)), first.(*vm).m.vcpus[0].cpuid.leaf(leafFeatures, 0).ECX; got != want {
					t.Errorf("leaf 1 shows %#x, want %#x", got, want)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			m.CPUTemplate = "ignored"
			second := launch(t, m).(hypervisor.Saver)
			if !slices.Equal(second.Features(), first.Features()) {
				t.Errorf("shown were %v, and then %v", first.Features(), second.Features())
			}
		})
	}
}
