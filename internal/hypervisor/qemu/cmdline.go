package qemu

import (
	"fmt"
	"strings"

	"github.com/holtvm/holt/internal/hypervisor"
)

// The machine's own part of the kernel command line. Each option is here for the
// reason beside it; the times are of a Debian 6.1 kernel under emulation, which
// reaches its init in 0.9 s.
var (
	cmdlineAlways = []string{
		"console=ttyS0", // the machine's only console
		"panic=-1",      // a panic resets at once, which ends the machine (ErrReset)
		// Known-answer tests of each cipher, on code that a distribution has
		// tested: 220 ms.
		"cryptomgr.notests",
	}
	// cmdlineEmulated is for software emulation.
	cmdlineEmulated = []string{
		// An emulated timer interrupt works; finding that out takes 30 ms.
		"no_timer_check",
		// The emulated TSC is the host's and the same on all vCPUs. On a busy
		// host, comparing it with other clocks finds differences that are the
		// host's scheduling, and falls back to a clock that is slow to read.
		"tsc=reliable",
	}
	// cmdlineOneCPU is for software emulation of a single vCPU.
	cmdlineOneCPU = []string{
		// Calibrating the local APIC's timer is a wait of 80 ms. The HPET
		// needs none and does for one vCPU; several need a timer each.
		"nolapic_timer",
		// Taking the LOCK prefixes out of the kernel saves real processors
		// time. Here it costs 90 ms of patching code, and gains nothing.
		"noreplace-smp",
	}
)

// maxCmdline is the longest command line that an x86 kernel takes, in bytes
// (COMMAND_LINE_SIZE less its NUL). It cuts off the rest without a word.
const maxCmdline = 2047

func (b *Backend) cmdline(m hypervisor.Machine) (string, error) {
	words := append([]string(nil), cmdlineAlways...)
	if !m.KernelLog {
		// Errors still show. The rest is for people who look for one.
		words = append(words, "quiet")
	}
	if !b.kvm {
		words = append(words, cmdlineEmulated...)
		if m.VCPUs == 1 {
			words = append(words, cmdlineOneCPU...)
		}
	}
	if m.Cmdline != "" {
		words = append(words, m.Cmdline)
	}
	line := strings.Join(words, " ")
	if len(line) > maxCmdline {
		return "", fmt.Errorf("a kernel command line of %d bytes: at most %d are possible", len(line), maxCmdline)
	}
	return line, nil
}
