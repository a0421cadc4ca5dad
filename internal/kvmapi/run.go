package kvmapi

import "encoding/binary"

// Offsets in struct kvm_run (api.rst, 5). Everything from runExit on, up to
// runSync, is a union that depends on the reason.
const (
	runImmediateExit = 1
	runExitReason    = 8
	runExit          = 32
	runSync          = runExit + 256
)

// Offsets in the union's members, from runExit.
const (
	ioDirection  = 0
	ioSize       = 1
	ioPort       = 2
	ioCount      = 4
	ioDataOffset = 8 // which is one from the start of struct kvm_run

	mmioAddr    = 0
	mmioData    = 8
	mmioLen     = 16
	mmioIsWrite = 20

	internalSuberror = 0
	internalNData    = 4
	internalData     = 8

	emulationFlags     = 8
	emulationInsnSize  = 16
	emulationInsnBytes = 17
	maxInstruction     = 15 // bytes

	entryFailureReason = 0
)

const ioOut = 1 // KVM_EXIT_IO_OUT

// maxInternalData is how many numbers struct kvm_run has room for.
const maxInternalData = 16

// emulationHasInstruction is the flag of the instruction's bytes
// (KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES).
const emulationHasInstruction = 1 << 0

// ExitReason says why the last [VCPU.Run] returned.
func (c *VCPU) ExitReason() ExitReason {
	return ExitReason(binary.NativeEndian.Uint32(c.run[runExitReason:]))
}

// IO is an access to an I/O port.
type IO struct {
	Out   bool   // the guest wrote
	Size  uint8  // of one element: 1, 2 or 4 bytes
	Port  uint16 // for all elements
	Count uint32 // elements: more than one come of a string instruction
	// Data are the Size * Count bytes, in the memory shared with the kernel:
	// what was written or, on a read, where the answer goes before the next
	// Run. It is valid until then.
	Data []byte
}

// IO is the access of an [ExitIO].
func (c *VCPU) IO() IO {
	exit := c.run[runExit:runSync]
	io := IO{
		Out:   exit[ioDirection] == ioOut,
		Size:  exit[ioSize],
		Port:  binary.NativeEndian.Uint16(exit[ioPort:]),
		Count: binary.NativeEndian.Uint32(exit[ioCount:]),
	}
	room := uint64(len(c.run))
	offset := binary.NativeEndian.Uint64(exit[ioDataOffset:])
	n := uint64(io.Size) * uint64(io.Count)
	if offset <= room && n <= room-offset {
		io.Data = c.run[offset : offset+n : offset+n]
	}
	return io
}

// IOPort is the port of an [ExitIO].
func (c *VCPU) IOPort() uint16 {
	return binary.NativeEndian.Uint16(c.run[runExit+ioPort:])
}

// MMIO is an access to an address where the machine has no memory.
type MMIO struct {
	Addr uint64 // guest-physical
	// Data are at most 8 bytes in the memory shared with the kernel: what was
	// written or, on a read, where the answer goes before the next Run. It is
	// valid until then.
	Data  []byte
	Write bool
}

// MMIO is the access of an [ExitMMIO].
func (c *VCPU) MMIO() MMIO {
	exit := c.run[runExit:runSync]
	n := min(binary.NativeEndian.Uint32(exit[mmioLen:]), mmioLen-mmioData)
	return MMIO{
		Addr:  binary.NativeEndian.Uint64(exit[mmioAddr:]),
		Data:  exit[mmioData : mmioData+n : mmioData+n],
		Write: exit[mmioIsWrite] != 0,
	}
}

// FailEntryReason is what the processor said to an [ExitFailEntry]: on Intel's,
// the VM-instruction error or exit reason; on AMD's, the exit code.
func (c *VCPU) FailEntryReason() uint64 {
	return binary.NativeEndian.Uint64(c.run[runExit+entryFailureReason:])
}

// InternalSuberror is the kind of an [ExitInternalError], as an InternalError
// constant.
func (c *VCPU) InternalSuberror() uint32 {
	return binary.NativeEndian.Uint32(c.run[runExit+internalSuberror:])
}

// InternalError is the kind of an [ExitInternalError], as an InternalError
// constant, and a copy of what the kernel tells of it: at most 16 numbers that
// are for people to read.
func (c *VCPU) InternalError() (suberror uint32, data []uint64) {
	exit := c.run[runExit:runSync]
	data = make([]uint64, min(binary.NativeEndian.Uint32(exit[internalNData:]), maxInternalData))
	for i := range data {
		data[i] = binary.NativeEndian.Uint64(exit[internalData+8*i:])
	}
	return c.InternalSuberror(), data
}

// FailedInstruction is a copy of the guest's bytes, 15 at most, from the
// instruction on that KVM could not emulate. It is nil where the last exit was
// of another kind or the kernel has no bytes to tell.
func (c *VCPU) FailedInstruction() []byte {
	exit := c.run[runExit:runSync]
	told := 8 * min(binary.NativeEndian.Uint32(exit[internalNData:]), maxInternalData) // bytes, from internalData on
	if c.ExitReason() != ExitInternalError || c.InternalSuberror() != InternalErrorEmulation ||
		told < emulationInsnBytes+maxInstruction-internalData ||
		binary.NativeEndian.Uint64(exit[emulationFlags:])&emulationHasInstruction == 0 {
		return nil
	}
	n := min(exit[emulationInsnSize], maxInstruction)
	return append([]byte(nil), exit[emulationInsnBytes:emulationInsnBytes+n]...)
}
