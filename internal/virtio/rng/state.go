package rng

import (
	"encoding/json"
	"fmt"
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
	if len(state) > maxState {
		return fmt.Errorf("state of an entropy device: %d bytes, more than %d", len(state), maxState)
	}
	var s State
	if err := json.Unmarshal(state, &s); err != nil {
		return fmt.Errorf("state of an entropy device: %w", err)
	}
	if s.Version != stateVersion {
		return fmt.Errorf("state of an entropy device: version is %d, not %d", s.Version, stateVersion)
	}
	return nil
}
