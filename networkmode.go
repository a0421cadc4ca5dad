package holt

import (
	"errors"
	"fmt"
	"slices"
)

// NetworkMode is how far the guest's network reaches, before any [NetworkRule].
type NetworkMode uint8

// The network modes.
const (
	// NetworkPublic reaches the internet, but neither the host itself nor
	// link-local, metadata and private addresses. It is the default.
	NetworkPublic NetworkMode = iota
	// NetworkLocal reaches the services on the host's loopback, under the name
	// host.holt.internal, and nothing else; published ports bind the loopback.
	// It is what Config.LocalOnly asks for.
	NetworkLocal
	// NetworkAll reaches whatever the host reaches, and the host.
	NetworkAll
	// NetworkNone gives the guest no network device.
	NetworkNone
)

var (
	networkModeNames = []string{"public", "local", "all", "none"}
	errNetworkMode   = errors.New("must be one of none, local, public, all")
)

// ParseNetworkMode parses one of none, local, public and all.
func ParseNetworkMode(s string) (NetworkMode, error) {
	m, err := parseNetworkMode(s)
	if err != nil {
		return NetworkPublic, fmt.Errorf("network mode %q: %w", s, err)
	}
	return m, nil
}

func parseNetworkMode(s string) (NetworkMode, error) {
	i := slices.Index(networkModeNames, s)
	if i < 0 {
		return NetworkPublic, errNetworkMode
	}
	return NetworkMode(i), nil
}

// String returns the name that ParseNetworkMode accepts, or "NetworkMode(n)" for
// a number that is no mode.
func (m NetworkMode) String() string {
	if int(m) >= len(networkModeNames) {
		return fmt.Sprintf("NetworkMode(%d)", uint8(m))
	}
	return networkModeNames[m]
}

// MarshalText returns the mode's name. It fails on a number that is no mode.
func (m NetworkMode) MarshalText() ([]byte, error) {
	if m > NetworkNone {
		return nil, fmt.Errorf("%v: %w", m, errNetworkMode)
	}
	return []byte(m.String()), nil
}

// UnmarshalText is ParseNetworkMode.
func (m *NetworkMode) UnmarshalText(text []byte) error {
	return unmarshalText(m, text, ParseNetworkMode)
}
