package agentproto

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of a Renewal's seed, in bytes.
const (
	MinSeed = 16
	MaxSeed = 64
)

// Renewal is what follows an OpRenew header line: what a clone of a machine has of its
// own. It can be asked for again, with the same effect.
type Renewal struct {
	// Hostname is that of a BootSpec. It is left alone if empty.
	Hostname string `json:"hostname,omitempty"`
	// MachineID is for /etc/machine-id, where there is one (machine-id(5)): 32 lower-case
	// hexadecimal digits, not all zero. It is left alone if empty.
	MachineID string `json:"machine_id,omitempty"`
	// BootID is for /proc/sys/kernel/random/boot_id (random(4)): a UUID in lower case.
	// It is left alone if empty.
	BootID string `json:"boot_id,omitempty"`
	// ClockNS is the wall clock, in nanoseconds since 1970. The guest's is left alone if
	// it is 0, or within a millisecond of that.
	ClockNS int64 `json:"clock_ns,omitempty"`
	// Seed is what the kernel's random numbers are seeded again with: MinSeed to MaxSeed
	// bytes that nobody else knows, or none.
	Seed []byte `json:"seed,omitempty"`
	// Network is what the network interface is to be from now on, its hardware address
	// too. It is left alone if nil.
	Network *Network `json:"network,omitempty"`
	// OldMAC is the hardware address by which the interface is found, if it has not got
	// the new one already. It is needed with a Network.
	OldMAC string `json:"old_mac,omitempty"`
	// Program is the main program of a guest that was held at boot. If there is another
	// one already, the renewal fails.
	Program *Program `json:"program,omitempty"`
}

// OldHardwareAddr is the value of OldMAC, as Network.HardwareAddr is that of MAC.
func (r Renewal) OldHardwareAddr() ([6]byte, error) { return parseMAC("old_mac", r.OldMAC) }

// Validate returns every reason for which r cannot be carried out, joined.
func (r Renewal) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := checkHostname(r.Hostname); err != nil {
		errs = append(errs, err)
	}
	if r.MachineID != "" && (len(r.MachineID) != 32 || !lowerHex(r.MachineID) || strings.Trim(r.MachineID, "0") == "") {
		bad("machine_id %.80q: must be 32 lower-case hexadecimal digits, not all zero", r.MachineID)
	}
	if r.BootID != "" && !isUUID(r.BootID) {
		bad("boot_id %.80q: must be a UUID in lower case", r.BootID)
	}
	if err := checkClock(r.ClockNS); err != nil {
		errs = append(errs, err)
	}
	if n := len(r.Seed); n != 0 && (n < MinSeed || n > MaxSeed) {
		bad("seed: %d bytes: must be %d to %d", n, MinSeed, MaxSeed)
	}
	if r.Network != nil {
		if err := r.Network.Validate(); err != nil {
			bad("network: %w", err)
		}
	}
	if r.Network != nil || r.OldMAC != "" {
		if _, err := r.OldHardwareAddr(); err != nil {
			errs = append(errs, err)
		}
	}
	if r.Program != nil {
		if err := r.Program.Validate(); err != nil {
			bad("program: %w", err)
		}
	}
	return errors.Join(errs...)
}

// isUUID says whether s is groups of 8, 4, 4, 4 and 12 hexadecimal digits with hyphens
// between them (RFC 9562, 4).
func isUUID(s string) bool {
	groups := strings.Split(s, "-")
	if len(groups) != 5 {
		return false
	}
	for i, size := range []int{8, 4, 4, 4, 12} {
		if len(groups[i]) != size || !lowerHex(groups[i]) {
			return false
		}
	}
	return true
}

func lowerHex(s string) bool { return strings.Trim(s, digits+"abcdef") == "" }

// DecodeRenewal decodes and validates the payload of a TypeSpec frame that follows an
// OpRenew header line. Unknown keys and values that Validate refuses are a
// ViolationError.
func DecodeRenewal(b []byte) (Renewal, error) {
	var r Renewal
	if err := unmarshal("renewal", b, &r, true); err != nil {
		return r, err
	}
	if err := r.Validate(); err != nil {
		return r, violation("renewal: %v", err)
	}
	return r, nil
}
