package console

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

// State is a Device as SaveState encodes it, in JSON. The device holds no input or
// output: bytes are in the guest's buffers, or in a Write that waits for them.
type State struct {
	Version int    `json:"version"` // 1
	Cols    uint16 `json:"cols"`    // the size that the driver was told, in characters
	Rows    uint16 `json:"rows"`
}

// SaveState implements virtio.Device; it returns a State.
func (d *Device) SaveState() ([]byte, error) {
	return json.Marshal(State{
		Version: stateVersion,
		Cols:    binary.LittleEndian.Uint16(d.config[0:]),
		Rows:    binary.LittleEndian.Uint16(d.config[2:]),
	})
}

// LoadState implements virtio.Device.
func (d *Device) LoadState(state []byte) error {
	var s State
	if err := virtio.DecodeState(state, maxState, &s, &s.Version, stateVersion); err != nil {
		return fmt.Errorf("state of a console: %w", err)
	}
	binary.LittleEndian.PutUint16(d.config[0:], s.Cols)
	binary.LittleEndian.PutUint16(d.config[2:], s.Rows)
	return nil
}
