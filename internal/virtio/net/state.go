package net

import (
	"bytes"
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

// LoadState implements virtio.Device. The state must be of a card with the same
// address and MTU, because the backend knows them, too.
func (d *Device) LoadState(state []byte) error {
	var s State
	if err := virtio.DecodeState(state, maxState, &s, &s.Version, stateVersion); err != nil {
		return fmt.Errorf("state of a network card: %w", err)
	}
	if own := d.state(); !bytes.Equal(s.MAC, own.MAC) || s.MTU != own.MTU {
		return fmt.Errorf("state of a network card: it is of %.12x with MTU %d, not of %x with %d", s.MAC, s.MTU, own.MAC, own.MTU)
	}
	return nil
}
