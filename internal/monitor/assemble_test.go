package monitor

import (
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/kernel"
)

// TestHasKVM: a kernel that lacks both vendors' modules is refused before the
// boot; one vendor's may be enough.
func TestHasKVM(t *testing.T) {
	for _, c := range []struct {
		missing []string
		refused bool
	}{
		{nil, false},
		{[]string{"virtio_balloon"}, false},
		{[]string{"kvm-intel"}, false},
		{[]string{"kvm-amd"}, false},
		{[]string{"irqbypass", "kvm-amd", "kvm-intel"}, true},
	} {
		err := hasKVM(kernel.Kernel{Manifest: kernel.Manifest{Name: "k1", Missing: c.missing}})
		if c.refused != (err != nil) {
			t.Errorf("without %v: %v", c.missing, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "k1") || !strings.Contains(err.Error(), "CONFIG_KVM_AMD")) {
			t.Errorf("the error names no kernel or no option: %v", err)
		}
	}
}
