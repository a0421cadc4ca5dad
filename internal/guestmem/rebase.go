package guestmem

import (
	"errors"
	"fmt"
)

// ErrLost is wrapped by an error after which guest memory may have holes, where it had
// data: the VM must not go on.
var ErrLost = errors.New("guest memory is lost")

// Rebase puts the image in the place of what is mapped now, at the same addresses, and
// gives back the memory that held it. The image's contents are the same as the memory's:
// that is the caller's promise, and so is that nobody writes to the memory meanwhile.
// Reading it is fine at any time. Where memory was in huge pages, it is in small ones
// from then on, which the guest gets one fault at a time.
//
// After an error the memory is as it was, unless the error wraps [ErrLost].
func (m *Memory) Rebase(img *Image) error {
	if err := img.Check(); err != nil {
		return err
	}
	if err := m.private(); err != nil {
		return fmt.Errorf("rebase guest memory: %w", err)
	}
	if img.Size != m.Size() {
		return fmt.Errorf("rebase guest memory: it has %d bytes, the image %d", m.Size(), img.Size)
	}
	// All that can be refused is mapped elsewhere first. Then the pieces are moved, each
	// at one blow: whoever reads a page sees it before or after.
	mapped, copied := img.plan(maxPieces)
	staged := make([][]byte, 0, len(m.maps)) // what of each region is still elsewhere
	defer func() {
		for _, b := range staged {
			_ = release(b)
		}
	}()
	parts := m.parts()
	for i, mp := range m.maps {
		b, err := reserve(uint64(len(mp.host)))
		if err != nil {
			return fmt.Errorf("rebase guest memory: %w", err)
		}
		staged = append(staged, b)
		if err := img.fill(b, parts[i], mapped, copied); err != nil {
			return fmt.Errorf("rebase guest memory: %w", err)
		}
	}
	mappings := overlay([]piece{img.first()}, mapped)
	for i, mp := range m.maps {
		for _, p := range within(mappings, parts[i]) {
			n := offset(p.Count)
			if err := move(slice(mp.host, parts[i], p.Run), staged[i][:n]); err != nil {
				return fmt.Errorf("rebase guest memory: page %d: %w: %w", p.Page, ErrLost, err)
			}
			staged[i] = staged[i][n:]
		}
	}
	m.image = img
	return nil
}
