package hypervisor

import (
	"strings"
	"testing"
)

// TestCPUError: each kind of error says what there is to do.
func TestCPUError(t *testing.T) {
	for _, c := range []struct {
		name string
		err  CPUError
		want []string
		not  string
	}{
		{
			"a saved machine",
			CPUError{Missing: []string{"avx2", "fma"}, Vendor: "GenuineIntel", HostVendor: "GenuineIntel"},
			[]string{"lacks avx2, fma", "--cpu-template (x86-64-v2, x86-64-v3)", "oldest host"}, "lower",
		},
		{
			"a template",
			CPUError{Missing: []string{"avx2"}},
			[]string{"lacks avx2", "lower --cpu-template"}, "oldest",
		},
		{
			"another vendor",
			CPUError{Missing: []string{"avx2"}, Vendor: "Genuine\nntel", HostVendor: "AuthenticAMD"},
			[]string{`"Genuine\nntel"`, `"AuthenticAMD"`, "no CPU template"}, "avx2",
		},
	} {
		got := c.err.Error()
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q lacks %q", c.name, got, want)
			}
		}
		if strings.Contains(got, c.not) {
			t.Errorf("%s: %q has %q", c.name, got, c.not)
		}
	}
}
