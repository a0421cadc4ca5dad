package fs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/holtvm/holt/internal/virtio"
)

const (
	stateVersion = 1
	// maxState bounds a State in JSON, in bytes. What the server may take of it
	// is for the server to say.
	maxState = 256 << 20
)

// State is a Device as SaveState encodes it, in JSON.
type State struct {
	Version       int    `json:"version"` // 1
	Tag           []byte `json:"tag"`     // as the driver read it, 1 to 36 bytes
	RequestQueues uint32 `json:"request_queues"`
	// Server is what the file server knows: fsserver.State.
	Server json.RawMessage `json:"server"`
}

// SaveState implements virtio.Device; it returns a State.
func (d *Device) SaveState() ([]byte, error) {
	server, err := d.server.SaveState()
	if err != nil {
		return nil, fmt.Errorf("save virtio-fs %q: %w", d.tag(), err)
	}
	state, err := json.Marshal(State{
		Version:       stateVersion,
		Tag:           d.tag(),
		RequestQueues: binary.LittleEndian.Uint32(d.config[tagSize:]),
		Server:        server,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the state of virtio-fs %q: %w", d.tag(), err)
	}
	return state, nil
}

// LoadState implements virtio.Device. The state must be of a device with the same
// tag and the same number of queues.
func (d *Device) LoadState(state []byte) error {
	var s State
	if err := virtio.DecodeState(state, maxState, &s, &s.Version, stateVersion); err != nil {
		return fmt.Errorf("state of virtio-fs: %w", err)
	}
	queues := binary.LittleEndian.Uint32(d.config[tagSize:])
	if !bytes.Equal(s.Tag, d.tag()) || s.RequestQueues != queues {
		return fmt.Errorf("state of virtio-fs: it is of %.40q with %d queues, not of %q with %d", s.Tag, s.RequestQueues, d.tag(), queues)
	}
	if err := d.server.LoadState(s.Server); err != nil {
		return fmt.Errorf("state of virtio-fs %q: %w", s.Tag, err)
	}
	return nil
}

// tag is the tag without the zeros that fill it up.
func (d *Device) tag() []byte { return bytes.TrimRight(d.config[:tagSize], "\x00") }
