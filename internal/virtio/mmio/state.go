package mmio

import (
	"errors"
	"fmt"

	"github.com/holtvm/holt/internal/virtio"
)

// State is a paused transport with its device, as it is written to disk. Guest
// memory, in which the rings are, is not part of it.
type State struct {
	Type              virtio.DeviceType `json:"type"`
	Status            uint32            `json:"status"`
	InterruptStatus   uint32            `json:"interrupt_status"`
	DeviceFeaturesSel uint32            `json:"device_features_sel"`
	DriverFeaturesSel uint32            `json:"driver_features_sel"`
	DriverFeatures    uint64            `json:"driver_features"`
	AlienFeatures     bool              `json:"alien_features,omitempty"` // a bit above the 63rd was accepted
	QueueSel          uint32            `json:"queue_sel"`
	Queues            []QueueState      `json:"queues"`
	Device            []byte            `json:"device"` // of virtio.Device.SaveState
}

// QueueState is one queue of a [State]: its registers, and where it goes on.
type QueueState struct {
	Size      uint32 `json:"size"` // QueueNum, entries
	Ready     bool   `json:"ready"`
	Desc      uint64 `json:"desc"`             // guest address of the descriptor table
	Driver    uint64 `json:"driver"`           // guest address of the available ring
	Device    uint64 `json:"device"`           // guest address of the used ring
	NextAvail uint16 `json:"next_avail"`       // position in the available ring
	Broken    bool   `json:"broken,omitempty"` // the driver broke its protocol
}

// Save returns what Load needs. It is an error unless the transport is paused, and
// the device's when that cannot be saved.
func (t *Transport) Save() (State, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.paused {
		return State{}, fmt.Errorf("save virtio-mmio %s: it is not paused", t.dev.Type())
	}
	device, err := t.dev.SaveState()
	if err != nil {
		return State{}, fmt.Errorf("save virtio-mmio %s: %w", t.dev.Type(), err)
	}
	r := &t.registers
	s := State{
		Type:              t.dev.Type(),
		Status:            t.status(),
		InterruptStatus:   t.interrupts.Load(),
		DeviceFeaturesSel: r.deviceFeaturesSel,
		DriverFeaturesSel: r.driverFeaturesSel,
		DriverFeatures:    r.driverFeatures,
		AlienFeatures:     r.alienFeatures,
		QueueSel:          r.queueSel,
		Device:            device,
	}
	for _, q := range t.queues {
		s.Queues = append(s.Queues, q.regs)
	}
	return s, nil
}

// Load puts a fresh transport, whose device is of the same kind, where s was
// saved, and leaves it paused. s may be from anywhere: what no driver can reach
// is an error, and what only shows when the queues start, at Resume, is treated
// as the driver's own doing. After an error the transport is fresh again.
func (t *Transport) Load(s State) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.load(s); err != nil {
		return fmt.Errorf("load virtio-mmio %s: %w", t.dev.Type(), err)
	}
	return nil
}

func (t *Transport) load(s State) error {
	if t.registers.status != 0 || t.closed {
		return errors.New("it is in use")
	}
	if err := t.check(s); err != nil {
		return err
	}
	if s.Status&statusFeaturesOK != 0 {
		t.dev.SetFeatures(s.DriverFeatures & t.dev.Features())
	}
	if err := t.dev.LoadState(s.Device); err != nil {
		t.reset()
		return err
	}
	t.paused = true
	t.registers = registers{
		status:            s.Status &^ statusNeedsReset,
		deviceFeaturesSel: s.DeviceFeaturesSel,
		driverFeaturesSel: s.DriverFeaturesSel,
		driverFeatures:    s.DriverFeatures,
		alienFeatures:     s.AlienFeatures,
		queueSel:          s.QueueSel,
	}
	for i, q := range t.queues {
		q.regs = s.Queues[i]
	}
	t.needsReset.Store(s.Status&statusNeedsReset != 0)
	t.interrupts.Store(s.InterruptStatus)
	return nil
}

// check reports what no driver could have brought about.
func (t *Transport) check(s State) error {
	switch {
	case s.Type != t.dev.Type():
		return fmt.Errorf("the state is of a device of type %d (%v)", uint32(s.Type), s.Type)
	case len(s.Queues) != len(t.queues):
		return fmt.Errorf("the state has %d queues, the device %d", len(s.Queues), len(t.queues))
	case s.InterruptStatus&^(interruptUsed|interruptConfig) != 0:
		return fmt.Errorf("interrupt status %#x", s.InterruptStatus)
	case !reachable(s.Status):
		return fmt.Errorf("status %#x", s.Status)
	case s.Status&statusFeaturesOK != 0 && (s.AlienFeatures || !t.acceptable(s.DriverFeatures)):
		return fmt.Errorf("features %#x are not among %#x", s.DriverFeatures, t.offered())
	}
	return nil
}

// reachable reports whether a status is one that setStatus can leave.
func reachable(status uint32) bool {
	status &^= statusNeedsReset | statusFailed
	for _, step := range initialisation {
		if status&step == 0 {
			break
		}
		status &^= step
	}
	return status == 0
}
