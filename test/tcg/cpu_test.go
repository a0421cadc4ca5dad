//go:build tcg

package tcg

import (
	"testing"

	"github.com/holtvm/holt/internal/vmtest"
)

// TestKernelAvoidsCmpxchg16b: a guest's kernel does not use the instruction that QEMU's
// emulation has wrong, and its programs may.
func TestKernelAvoidsCmpxchg16b(t *testing.T) {
	t.Parallel()
	for _, k := range testKernels(t) {
		t.Run(k.Name, func(t *testing.T) {
			vmtest.Run(t, "run", "--kernel", k.Name, "-m", "256", "--", "sh", "-c",
				"grep -wo cx16 /proc/cpuinfo; dmesg | grep -o 'Clearing CPUID bits: cx16'").Want(t, 0, "Clearing CPUID bits: cx16\n")
		})
	}
}
