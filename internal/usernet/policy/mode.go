package policy

import (
	"errors"
	"fmt"
	"slices"
)

// Mode is what a guest reaches where no rule decides.
type Mode uint8

// The modes.
const (
	ModePublic Mode = iota // public addresses; the default
	ModeNone               // nothing, whatever the rules say
	ModeLocal              // the host's loopback
	ModeAll                // every address that a host could be at
)

var modeNames = []string{"public", "none", "local", "all"}

var errMode = errors.New("must be one of none, local, public, all")

// ParseMode parses one of none, local, public and all.
func ParseMode(s string) (Mode, error) {
	i := slices.Index(modeNames, s)
	if i < 0 {
		return 0, fmt.Errorf("network mode %q: %w", s, errMode)
	}
	return Mode(i), nil
}
