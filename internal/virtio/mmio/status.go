package mmio

import (
	"math"

	"github.com/holtvm/holt/internal/virtio"
)

// Bits of the device status (virtio 1.2, 2.1).
const (
	statusAcknowledge = 1
	statusDriver      = 2
	statusDriverOK    = 4
	statusFeaturesOK  = 8
	statusNeedsReset  = 64 // the device's own
	statusFailed      = 128
)

// initialisation is a driver's way through the status bits (3.1.1). No step can
// be taken before the ones ahead of it.
var initialisation = [...]uint32{statusAcknowledge, statusDriver, statusFeaturesOK, statusDriverOK}

// registers are those that belong to the device as a whole. Zeros are how a reset
// leaves them.
type registers struct {
	status            uint32 // without statusNeedsReset
	deviceFeaturesSel uint32
	driverFeaturesSel uint32
	driverFeatures    uint64
	alienFeatures     bool // the driver accepted a bit above the 63rd
	queueSel          uint32
}

// offered are the feature bits that the driver may accept.
func (t *Transport) offered() uint64 {
	return t.dev.Features() | virtio.TransportFeatures
}

// acceptable reports whether a driver that understands this transport may have
// accepted these features: no others than it was offered, and VERSION_1, without
// which it would be a legacy driver (6.1).
func (t *Transport) acceptable(features uint64) bool {
	return features&^t.offered() == 0 && features&virtio.FeatureVersion1 != 0
}

// setDriverFeatures is a write to DriverFeatures, which means nothing once they
// are agreed on.
func (t *Transport) setDriverFeatures(v uint32) {
	r := &t.registers
	switch {
	case r.status&statusFeaturesOK != 0:
	case r.driverFeaturesSel > 1:
		r.alienFeatures = r.alienFeatures || v != 0
	default:
		shift := 32 * r.driverFeaturesSel
		r.driverFeatures = r.driverFeatures&^(math.MaxUint32<<shift) | uint64(v)<<shift
	}
}

// status is the value of the Status register.
func (t *Transport) status() uint32 {
	if t.needsReset.Load() {
		return t.registers.status | statusNeedsReset
	}
	return t.registers.status
}

// setStatus is a write to Status. 0 resets; otherwise bits are only ever added
// (2.1.1). A step whose condition is not met does not stick, and none behind it.
func (t *Transport) setStatus(v uint32) {
	r := &t.registers
	switch {
	case v == 0:
		t.reset()
		return
	case v&statusFailed != 0: // the driver has given up
		t.stopQueues()
		r.status |= statusFailed
	}
	if r.status&statusFailed != 0 {
		return // until it resets
	}
	for _, step := range initialisation {
		if (r.status|v)&step == 0 {
			return
		}
		if r.status&step != 0 {
			continue
		}
		if step == statusFeaturesOK {
			if r.alienFeatures || !t.acceptable(r.driverFeatures) {
				return
			}
			t.dev.SetFeatures(r.driverFeatures & t.dev.Features())
		}
		r.status |= step
	}
	t.startQueues()
}

// running reports whether queues that are ready are to run.
func (t *Transport) running() bool {
	return t.registers.status&(statusDriverOK|statusFailed) == statusDriverOK && !t.paused && !t.closed
}

// reset takes everything back to where no driver has been (4.2.3.1.1), which
// takes as long as the requests in flight.
func (t *Transport) reset() {
	t.stopQueues()
	t.dev.Reset()
	t.registers = registers{}
	for _, q := range t.queues {
		q.regs = QueueState{}
	}
	t.needsReset.Store(false)
	t.interrupts.Store(0)
}
