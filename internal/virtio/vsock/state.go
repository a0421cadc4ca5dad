package vsock

import (
	"encoding/json"
	"fmt"

	"github.com/holtvm/holt/internal/virtio"
)

const (
	stateVersion = 1
	maxState     = 1 << 10 // bytes of JSON
)

// Guests have these context IDs (virtio 1.2, 5.10.4).
const (
	minGuestCID = 3
	maxGuestCID = 1<<32 - 2
)

// State is a Device as SaveState encodes it, in JSON. Connections are not part of
// it, because their host side is in this process, and listeners are the host's.
type State struct {
	Version  int    `json:"version"`   // 1
	GuestCID uint64 `json:"guest_cid"` // 3 to 2^32-2
	Started  bool   `json:"started"`   // a driver runs; it may have connections
	Broken   bool   `json:"broken"`    // it broke a ring and was not reset since
	// LastPort is the host port of the latest Dial, 49152 or more. Until the guest
	// has forgotten its connections, their ports had better not be used again.
	LastPort uint32 `json:"last_port"`
}

// SaveState implements virtio.Device; it returns a State.
func (d *Device) SaveState() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return json.Marshal(State{
		Version:  stateVersion,
		GuestCID: d.guestCID,
		Started:  d.started,
		Broken:   d.broken,
		LastPort: d.lastPort,
	})
}

// LoadState implements virtio.Device. Connections that the guest had when the state was
// saved end: as soon as the event queue runs, the driver is told to reset them
// (5.10.6.7), and whatever it sends on one is answered with an RST. Those that were in
// the making end likewise, or by the driver's own timeout. A Dial waits until the driver
// has done so; one that gives no sign of it gets the Dial after 2 s, and may end it with
// the others: ECONNRESET says that it is worth another try.
func (d *Device) LoadState(state []byte) error {
	var s State
	if err := virtio.DecodeState(state, maxState, &s, &s.Version, stateVersion); err != nil {
		return fmt.Errorf("state of a vsock device: %w", err)
	}
	switch {
	case s.GuestCID < minGuestCID || s.GuestCID > maxGuestCID:
		return fmt.Errorf("state of a vsock device: guest_cid is %d, not %d to %d", s.GuestCID, minGuestCID, uint64(maxGuestCID))
	case s.LastPort < firstEphemeral || s.LastPort == portAny:
		return fmt.Errorf("state of a vsock device: last_port is %d, not %d to %d", s.LastPort, firstEphemeral, uint32(portAny-1))
	}
	d.mu.Lock()
	defer d.leave()
	d.endAll(ErrStopped)
	d.guestCID, d.lastPort = s.GuestCID, s.LastPort
	d.started, d.broken = s.Started, s.Broken
	d.tellReset = s.Started && !s.Broken
	d.holdDials, d.awaitSign = d.tellReset, d.tellReset
	return nil
}
