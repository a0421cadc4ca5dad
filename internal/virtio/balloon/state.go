package balloon

import (
	"encoding/json"
	"fmt"

	"github.com/holtvm/holt/internal/virtio"
)

const (
	stateVersion = 1
	maxState     = 1 << 10 // bytes of JSON
)

// State is a Device as SaveState encodes it, in JSON. Which pages are in the
// balloon only the guest knows: they stay there, and take no memory in a machine that
// goes on from this state until it takes them out.
type State struct {
	Version int    `json:"version"` // 1
	Actual  uint32 `json:"actual"`  // pages in the balloon, as the driver said
}

// SaveState implements virtio.Device; it returns a State.
func (d *Device) SaveState() ([]byte, error) {
	return json.Marshal(State{Version: stateVersion, Actual: d.actual})
}

// LoadState implements virtio.Device.
func (d *Device) LoadState(state []byte) error {
	var s State
	if err := virtio.DecodeState(state, maxState, &s, &s.Version, stateVersion); err != nil {
		return fmt.Errorf("state of a balloon: %w", err)
	}
	d.actual = s.Actual
	return nil
}
