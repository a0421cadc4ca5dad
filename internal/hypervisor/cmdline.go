package hypervisor

import (
	"fmt"
	"strings"

	"github.com/holtvm/holt/internal/boot"
)

// KernelCmdline is the kernel command line of m: what every backend's machine
// needs, then the backend's own words, then m.Cmdline, which so has the last word.
func (m Machine) KernelCmdline(own ...string) (string, error) {
	words := []string{
		"console=ttyS0", // the machine's only console
		"panic=-1",      // a panic resets at once, which ends the machine (ErrReset)
		// Known-answer tests of each cipher, on code that a distribution has
		// tested: 220 ms under emulation.
		"cryptomgr.notests",
	}
	if !m.KernelLog {
		// Errors still show. The rest is for people who look for one, and costs
		// an exit for each byte.
		words = append(words, "quiet")
	}
	words = append(words, own...)
	if m.Cmdline != "" {
		words = append(words, m.Cmdline)
	}
	line := strings.Join(words, " ")
	if len(line) > boot.MaxCmdline {
		return "", fmt.Errorf("a kernel command line of %d bytes: at most %d are possible", len(line), boot.MaxCmdline)
	}
	return line, nil
}
