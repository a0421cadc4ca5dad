package kvmapi

import "encoding/binary"

// ExitReason is why KVM_RUN returned (kvm.h, KVM_EXIT_*).
type ExitReason uint32

// The reasons that Holt's code tells apart.
const (
	ExitIO            ExitReason = 2
	ExitHLT           ExitReason = 5
	ExitShutdown      ExitReason = 8
	ExitFailEntry     ExitReason = 9
	ExitInternalError ExitReason = 17
)

// Offsets in struct kvm_run (api.rst, 5). Everything from runExit on is a union
// that depends on the reason.
const (
	runImmediateExit = 1
	runExitReason    = 8
	runExit          = 32
)

// ExitReason says why the last [VCPU.Run] returned.
func (c *VCPU) ExitReason() ExitReason {
	return ExitReason(binary.NativeEndian.Uint32(c.run[runExitReason:]))
}

// InternalSuberror is the kind of an ExitInternalError: 1 says that KVM met an
// instruction which it cannot emulate (KVM_INTERNAL_ERROR_EMULATION).
func (c *VCPU) InternalSuberror() uint32 {
	return binary.NativeEndian.Uint32(c.run[runExit:])
}

// IOPort is the port of an ExitIO.
func (c *VCPU) IOPort() uint16 {
	return binary.NativeEndian.Uint16(c.run[runExit+2:])
}
