package blk

import (
	"encoding/json"
	"fmt"

	"github.com/holtvm/holt/internal/virtio"
)

const (
	stateVersion = 1
	maxState     = 1 << 10 // bytes of JSON
)

// State is a Device as SaveState encodes it, in JSON: what the driver was told. The
// device holds no data of the guest's, and has no request in flight when it is saved;
// what was written and not flushed is the host's page cache.
type State struct {
	Version  int    `json:"version"` // 1
	Sectors  uint64 `json:"sectors"` // of 512 bytes
	Serial   []byte `json:"serial"`
	ReadOnly bool   `json:"read_only"`
	Queues   int    `json:"queues"`
}

// state is what the device is.
func (d *Device) state() State {
	return State{Version: stateVersion, Sectors: d.sectors, Serial: []byte(d.opts.Serial), ReadOnly: d.opts.ReadOnly, Queues: len(d.queues)}
}

// SaveState implements virtio.Device; it returns a State.
func (d *Device) SaveState() ([]byte, error) { return json.Marshal(d.state()) }

// LoadState implements virtio.Device. The state must be of a device with the same
// options and a disk of the same size.
func (d *Device) LoadState(state []byte) error {
	var s State
	if err := virtio.DecodeState(state, maxState, &s, &s.Version, stateVersion); err != nil {
		return fmt.Errorf("state of virtio-blk: %w", err)
	}
	is := d.state()
	if s.Sectors != is.Sectors || string(s.Serial) != string(is.Serial) || s.ReadOnly != is.ReadOnly || s.Queues != is.Queues {
		return fmt.Errorf("state of virtio-blk: it is of %v, not of %v", s, is)
	}
	return nil
}

// String describes the device for an error.
func (s State) String() string {
	access := "writable"
	if s.ReadOnly {
		access = "read-only"
	}
	return fmt.Sprintf("a %s disk of %d sectors with serial %q and %d queues", access, s.Sectors, s.Serial, s.Queues)
}
