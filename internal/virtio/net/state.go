package net

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/holtvm/holt/internal/virtio"
)

const (
	stateVersion = 1
	maxState     = 1 << 10 // bytes of JSON
)

// State is a Device as SaveState encodes it, in JSON. It is what the driver was told;
// the device holds no frames, and what the backend knows is the backend's.
type State struct {
	Version int    `json:"version"` // 1
	MAC     []byte `json:"mac"`     // 6 bytes
	MTU     uint16 `json:"mtu"`     // bytes
}

func (d *Device) state() State {
	return State{Version: stateVersion, MAC: d.config[:6], MTU: binary.LittleEndian.Uint16(d.config[10:])}
}

// SaveState implements virtio.Device; it returns a State.
func (d *Device) SaveState() ([]byte, error) { return json.Marshal(d.state()) }

// LoadState implements virtio.Device. The state must be of a card with the same MTU,
// because the backend knows it, too. Its address may be another one, as that of a copy
// of a machine is: the driver has read it before and finds the card's own when it looks
// again, but does not do so by itself. Until the guest has changed its interface to that,
// the backend drops its frames.
func (d *Device) LoadState(state []byte) error {
	var s State
	if err := virtio.DecodeState(state, maxState, &s, &s.Version, stateVersion); err != nil {
		return fmt.Errorf("state of a network card: %w", err)
	}
	own := d.state()
	switch {
	case len(s.MAC) != len(own.MAC):
		return fmt.Errorf("state of a network card: its address has %d bytes, not %d", len(s.MAC), len(own.MAC))
	case s.MTU != own.MTU:
		return fmt.Errorf("state of a network card: it is of one with MTU %d, not %d", s.MTU, own.MTU)
	}
	return nil
}
