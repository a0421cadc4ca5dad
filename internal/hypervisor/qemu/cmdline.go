package qemu

import "github.com/holtvm/holt/internal/hypervisor"

// The machine's own part of the kernel command line, under software emulation. Each
// option is here for the reason beside it; the times are of a Debian 6.1 kernel,
// which reaches its init in 0.9 s.
var (
	// cmdlineEmulated is for every guest.
	cmdlineEmulated = []string{
		// An emulated timer interrupt works; finding that out takes 30 ms.
		"no_timer_check",
		// The emulated TSC is the host's and the same on all vCPUs. On a busy
		// host, comparing it with other clocks finds differences that are the
		// host's scheduling, and falls back to a clock that is slow to read.
		"tsc=reliable",
		// No cmpxchg16b in the kernel, bit 141 (X86_FEATURE_CX16). QEMU 7.2 leaves
		// garbage in the flags behind it, such as TF, NT and DF, and an interrupt
		// there saves it and brings it back: some guest in hundreds died of that. The
		// kernel has it in every allocation of memory. Programs may use it as ever.
		"clearcpuid=141",
	}
	// cmdlineOneCPU is for a single vCPU.
	cmdlineOneCPU = []string{
		// Calibrating the local APIC's timer is a wait of 80 ms. The HPET
		// needs none and does for one vCPU; several need a timer each.
		"nolapic_timer",
		// Taking the LOCK prefixes out of the kernel saves real processors
		// time. Here it costs 90 ms of patching code, and gains nothing.
		"noreplace-smp",
	}
)

// cmdline is the kernel command line of m.
func (b *Backend) cmdline(m hypervisor.Machine) (string, error) {
	var own []string
	if !b.kvm {
		own = append(own, cmdlineEmulated...)
		if m.VCPUs == 1 {
			own = append(own, cmdlineOneCPU...)
		}
	}
	return m.KernelCmdline(own...)
}
