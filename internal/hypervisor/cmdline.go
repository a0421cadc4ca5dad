package hypervisor

import (
	"fmt"
	"strings"

	"github.com/holtvm/holt/internal/boot"
	"github.com/holtvm/holt/internal/virtio"
)

// KernelCmdline is the kernel command line of m: what every backend's machine
// needs, then the backend's own words, then m.Cmdline, which so has the last word.
func (m Machine) KernelCmdline(own ...string) (string, error) {
	var words []string
	if !m.KernelLog {
		// Errors still show. The rest is for people who look for one, and costs
		// an exit for each byte. It is first because the kernel takes its words in
		// order, and an early console prints at once what there is by then.
		words = append(words, "quiet")
	}
	words = append(words, m.consoles()...)
	words = append(words,
		"panic=-1", // a panic resets at once, which ends the machine (ErrReset)
		// Known-answer tests of each cipher, on code that a distribution has
		// tested: 220 ms under emulation.
		"cryptomgr.notests",
	)
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

// consoles are the words that say where the kernel prints.
func (m Machine) consoles() []string {
	if !m.Has(virtio.TypeConsole) {
		return []string{"console=ttyS0"}
	}
	// The serial port works from the first line on, at some exits for each byte.
	// The kernel leaves it when its driver has the virtio console, whenever that is.
	return []string{"earlycon=uart8250,io,0x3f8,115200", "console=hvc0"}
}
