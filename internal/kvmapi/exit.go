package kvmapi

import "fmt"

// ExitReason is why KVM_RUN returned (kvm.h, KVM_EXIT_*).
type ExitReason uint32

// The reasons there are on x86, and those of every architecture.
const (
	ExitUnknown       ExitReason = 0
	ExitException     ExitReason = 1
	ExitIO            ExitReason = 2
	ExitHypercall     ExitReason = 3
	ExitDebug         ExitReason = 4
	ExitHLT           ExitReason = 5
	ExitMMIO          ExitReason = 6
	ExitIRQWindowOpen ExitReason = 7
	ExitShutdown      ExitReason = 8 // triple fault
	ExitFailEntry     ExitReason = 9
	ExitIntr          ExitReason = 10
	ExitSetTPR        ExitReason = 11
	ExitTPRAccess     ExitReason = 12
	ExitNMI           ExitReason = 16
	ExitInternalError ExitReason = 17
	ExitSystemEvent   ExitReason = 24
	ExitIOAPICEOI     ExitReason = 26
	ExitHyperV        ExitReason = 27
	ExitRDMSR         ExitReason = 29
	ExitWRMSR         ExitReason = 30
	ExitDirtyRingFull ExitReason = 31
	ExitAPResetHold   ExitReason = 32
	ExitBusLock       ExitReason = 33
	ExitXen           ExitReason = 34
	ExitNotify        ExitReason = 37
	ExitMemoryFault   ExitReason = 39
)

// String is the reason as people write it: "mmio", or "exit 99" for one without
// a name here.
func (r ExitReason) String() string {
	names := [...]string{
		ExitUnknown:       "unknown",
		ExitException:     "exception",
		ExitIO:            "io",
		ExitHypercall:     "hypercall",
		ExitDebug:         "debug",
		ExitHLT:           "hlt",
		ExitMMIO:          "mmio",
		ExitIRQWindowOpen: "irq window open",
		ExitShutdown:      "shutdown",
		ExitFailEntry:     "fail entry",
		ExitIntr:          "intr",
		ExitSetTPR:        "set tpr",
		ExitTPRAccess:     "tpr access",
		ExitNMI:           "nmi",
		ExitInternalError: "internal error",
		ExitSystemEvent:   "system event",
		ExitIOAPICEOI:     "ioapic eoi",
		ExitHyperV:        "hyperv",
		ExitRDMSR:         "rdmsr",
		ExitWRMSR:         "wrmsr",
		ExitDirtyRingFull: "dirty ring full",
		ExitAPResetHold:   "ap reset hold",
		ExitBusLock:       "bus lock",
		ExitXen:           "xen",
		ExitNotify:        "notify",
		ExitMemoryFault:   "memory fault",
	}
	if int64(r) < int64(len(names)) && names[r] != "" {
		return names[r]
	}
	return fmt.Sprintf("exit %d", uint32(r))
}

// Kinds of [VCPU.InternalError] (kvm.h, KVM_INTERNAL_ERROR_*).
const (
	InternalErrorEmulation            = 1 // an instruction that KVM cannot emulate
	InternalErrorSimulEx              = 2 // an exception while another was delivered
	InternalErrorDeliveryEvent        = 3 // an exit that cannot be while an event is delivered
	InternalErrorUnexpectedExitReason = 4
)
