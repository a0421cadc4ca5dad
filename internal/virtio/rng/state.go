package rng

import (
	"encoding/json"
	"fmt"

	"github.com/holtvm/holt/internal/virtio"
)

const (
	stateVersion = 1
	maxState     = 1 << 10 // bytes of JSON
)

// State is a Device as SaveState encodes it, in JSON. There is nothing to know but
// that it is one.
type State struct {
	Version int `json:"version"` // 1
}

// SaveState implements virtio.Device; it returns a State.
func (d *Device) SaveState() ([]byte, error) { return json.Marshal(State{stateVersion}) }

// LoadState implements virtio.Device.
func (d *Device) LoadState(state []byte) error {
	var s State
	if err := virtio.DecodeState(state, maxState, &s, &s.Version, stateVersion); err != nil {
		return fmt.Errorf("state of an entropy device: %w", err)
	}
	return nil
}
