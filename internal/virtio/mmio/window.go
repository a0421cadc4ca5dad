package mmio

import (
	"encoding/binary"
)

// WindowSize is the length of a device's registers in the guest's address space,
// in bytes.
const WindowSize = 0x1000

// QueueNotify is the offset of the register that notifies a queue; see
// [Transport.KickFD].
const QueueNotify = 0x050

// The other registers (virtio 1.2, 4.2.2).
const (
	regMagicValue        = 0x000
	regVersion           = 0x004
	regDeviceID          = 0x008
	regVendorID          = 0x00c
	regDeviceFeatures    = 0x010
	regDeviceFeaturesSel = 0x014
	regDriverFeatures    = 0x020
	regDriverFeaturesSel = 0x024
	regQueueSel          = 0x030
	regQueueNumMax       = 0x034
	regQueueNum          = 0x038
	regQueueReady        = 0x044
	regInterruptStatus   = 0x060
	regInterruptACK      = 0x064
	regStatus            = 0x070
	regQueueDescLow      = 0x080
	regQueueDescHigh     = 0x084
	regQueueDriverLow    = 0x090
	regQueueDriverHigh   = 0x094
	regQueueDeviceLow    = 0x0a0
	regQueueDeviceHigh   = 0x0a4
	regSHMLenLow         = 0x0b0
	regSHMLenHigh        = 0x0b4
	regSHMBaseLow        = 0x0b8
	regSHMBaseHigh       = 0x0bc
	regConfigGeneration  = 0x0fc
	regConfig            = 0x100
)

const (
	magic   = 0x74726976 // "virt"
	version = 2
	vendor  = 0x544c4f48 // "HOLT"
	noSHM   = 0xffffffff // either half of the length of a region that is not there
)

var le = binary.LittleEndian

// Read is a vCPU's read of len(p) bytes, 1 to 8, off bytes into the window. The
// registers are 4 bytes each and read as a whole; any other access to them, and
// what lies behind the window, reads as 0 (4.2.2.2). The configuration space,
// from 0x100 on, is read at any width.
func (t *Transport) Read(off uint64, p []byte) {
	clear(p)
	switch {
	case off >= WindowSize:
	case off >= regConfig:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.dev.ReadConfig(uint32(off-regConfig), p)
	case len(p) != 4:
	case off == regInterruptStatus: // see acknowledge
		le.PutUint32(p, t.interrupts.Load())
	default:
		t.mu.Lock()
		defer t.mu.Unlock()
		le.PutUint32(p, t.register(off))
	}
}

// Write is a vCPU's write. Where Read gives 0 for its place or width, it has no
// effect.
func (t *Transport) Write(off uint64, p []byte) {
	switch {
	case off >= WindowSize || off < regConfig && len(p) != 4:
		return
	case off == regInterruptACK:
		t.acknowledge(le.Uint32(p))
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
	case off >= regConfig:
		t.dev.WriteConfig(uint32(off-regConfig), p)
	default:
		t.setRegister(off, le.Uint32(p))
	}
}

// register is the value of the register at off. One that is not there, or is only
// written, reads as 0.
func (t *Transport) register(off uint64) uint32 {
	switch off {
	case regMagicValue:
		return magic
	case regVersion:
		return version
	case regDeviceID:
		return uint32(t.dev.Type())
	case regVendorID:
		return vendor
	case regDeviceFeatures:
		return word(t.offered(), t.registers.deviceFeaturesSel)
	case regStatus:
		return t.status()
	case regSHMLenLow, regSHMLenHigh, regSHMBaseLow, regSHMBaseHigh:
		return noSHM // whatever SHMSel says: no device has shared memory
	case regConfigGeneration:
		return 0 // no configuration changes but by the driver itself
	}
	if q := t.selected(); q != nil {
		switch off {
		case regQueueNumMax:
			return uint32(q.most)
		case regQueueReady:
			if q.regs.Ready {
				return 1
			}
		}
	}
	return 0
}

// setRegister is a driver's write of v to the register at off.
func (t *Transport) setRegister(off uint64, v uint32) {
	r := &t.registers
	switch off {
	case regDeviceFeaturesSel:
		r.deviceFeaturesSel = v
	case regDriverFeaturesSel:
		r.driverFeaturesSel = v
	case regDriverFeatures:
		t.setDriverFeatures(v)
	case regStatus:
		t.setStatus(v)
	case regQueueSel:
		r.queueSel = v
	case QueueNotify:
		if uint64(v) < uint64(len(t.queues)) {
			t.queues[v].notify()
		}
	default:
		if q := t.selected(); q != nil {
			q.setRegister(off, v)
		}
	}
}

// selected is the queue that QueueSel names, or nil.
func (t *Transport) selected() *virtqueue {
	if i := t.registers.queueSel; uint64(i) < uint64(len(t.queues)) {
		return t.queues[i]
	}
	return nil
}

// word is the 32-bit word of v that a selector names; above the second there is
// nothing.
func word(v uint64, sel uint32) uint32 {
	if sel > 1 {
		return 0
	}
	return uint32(v >> (32 * sel))
}
