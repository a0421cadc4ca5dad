package serial

import (
	"encoding/json"
	"fmt"
)

// stateVersion is the State that this package writes and reads.
const stateVersion = 1

// maxState bounds what LoadState parses, in bytes.
const maxState = 4 << 10

// State is a UART as SaveState encodes it, in JSON.
type State struct {
	Version int     `json:"version"` // 1
	IER     byte    `json:"ier"`     // 0 to 15
	LCR     byte    `json:"lcr"`
	MCR     byte    `json:"mcr"` // 0 to 31
	SCR     byte    `json:"scr"`
	Divisor [2]byte `json:"divisor"` // low, high
	FIFOs   bool    `json:"fifos"`   // FCR bit 0
	THRE    bool    `json:"thre"`    // an interrupt that IIR has yet to show; needs IER bit 1
	RX      []byte  `json:"rx"`      // input that the guest has yet to read, at most 64 bytes
}

// SaveState encodes the registers and the input that waits, as State. Output that
// waits is written first.
func (u *UART) SaveState() ([]byte, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.flush()
	state, err := json.Marshal(State{
		Version: stateVersion,
		IER:     u.ier, LCR: u.lcr, MCR: u.mcr, SCR: u.scr,
		Divisor: u.divisor, FIFOs: u.fifos, THRE: u.thre, RX: u.rx,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the UART's state: %w", err)
	}
	return state, nil
}

// LoadState takes what SaveState returned in place of the registers and of the
// input that waits. An interrupt that was pending is raised again. state may be
// from an untrusted file; one that no UART can be in changes nothing.
func (u *UART) LoadState(state []byte) error {
	if len(state) > maxState {
		return fmt.Errorf("state of a UART is %d bytes, more than %d", len(state), maxState)
	}
	var s State
	if err := json.Unmarshal(state, &s); err != nil {
		return fmt.Errorf("decode the UART's state: %w", err)
	}
	if err := s.check(); err != nil {
		return fmt.Errorf("state of a UART: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.flush()
	u.ier, u.lcr, u.mcr, u.scr = s.IER, s.LCR, s.MCR, s.SCR
	u.divisor, u.fifos, u.thre = s.Divisor, s.FIFOs, s.THRE
	u.rx = append(u.rx[:0], s.RX...)
	if u.pending() != iirNone {
		u.irq()
	}
	return nil
}

func (s *State) check() error {
	switch {
	case s.Version != stateVersion:
		return fmt.Errorf("version is %d, not %d", s.Version, stateVersion)
	case s.IER > ierMask:
		return fmt.Errorf("ier is %#x, more than %#x", s.IER, ierMask)
	case s.MCR > mcrMask:
		return fmt.Errorf("mcr is %#x, more than %#x", s.MCR, mcrMask)
	case s.THRE && s.IER&ierTHRI == 0:
		return fmt.Errorf("thre is set, and ier %#x does not enable it", s.IER)
	case len(s.RX) > fifoSize:
		return fmt.Errorf("rx has %d bytes, more than %d", len(s.RX), fifoSize)
	}
	return nil
}
