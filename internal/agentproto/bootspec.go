package agentproto

import (
	"errors"
	"fmt"
	"path"
)

// Bounds of a BootSpec.
const (
	// MaxMounts is the greatest number of shared directories.
	MaxMounts = 256
	// MaxTag is the longest virtio-fs tag, in bytes (virtio 1.2, 5.11.4).
	MaxTag = 36
	// MaxHostname is the longest host name, in bytes (uname(2)).
	MaxHostname = 64
)

// BootSpec is what the agent is to do: the host's answer to Hello.
type BootSpec struct {
	// Holt is the protocol version.
	Holt int `json:"holt"`
	// Hostname is set if it is not empty.
	Hostname string `json:"hostname,omitempty"`
	// ClockNS is the wall clock, in nanoseconds since 1970; 0 leaves the
	// guest's clock alone.
	ClockNS int64 `json:"clock_ns,omitempty"`
	// Nested loads KVM in the guest and makes sure that /dev/kvm is there.
	Nested bool `json:"nested,omitempty"`
	// Mounts are the shared directories. Exactly one is the root.
	Mounts []Mount `json:"mounts"`
	// Program is the main program.
	Program Program `json:"program"`
}

// Mount is one shared directory.
type Mount struct {
	// Tag is the virtio-fs device's tag.
	Tag string `json:"tag"`
	// Target is where it is mounted: an absolute, clean path in the guest.
	Target string `json:"target"`
	// ReadOnly refuses writes.
	ReadOnly bool `json:"read_only,omitempty"`
	// Overlay keeps writes in guest memory and shares the directory read-only.
	// For the root only.
	Overlay bool `json:"overlay,omitempty"`
}

// Validate returns every reason for which s cannot be carried out, joined.
func (s BootSpec) Validate() error {
	var errs []error
	if len(s.Hostname) > MaxHostname || !textOK(s.Hostname) {
		errs = append(errs, fmt.Errorf("hostname: %.80q: must be at most %d bytes of UTF-8 without NUL", s.Hostname, MaxHostname))
	}
	if s.ClockNS < 0 {
		errs = append(errs, fmt.Errorf("clock_ns: %d: must not be negative", s.ClockNS))
	}
	errs = append(errs, validateMounts(s.Mounts)...)
	if err := s.Program.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("program: %w", err))
	}
	return errors.Join(errs...)
}

func validateMounts(mounts []Mount) []error {
	if len(mounts) > MaxMounts {
		return []error{fmt.Errorf("mounts: %d: at most %d", len(mounts), MaxMounts)}
	}
	var errs []error
	targets := make(map[string]bool, len(mounts))
	for i, m := range mounts {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("mounts[%d]: %w", i, fmt.Errorf(format, args...)))
		}
		if m.Tag == "" || len(m.Tag) > MaxTag || !textOK(m.Tag) {
			bad("tag %.80q: must be 1 to %d bytes of UTF-8 without NUL", m.Tag, MaxTag)
		}
		if len(m.Target) > MaxPath || !textOK(m.Target) || !path.IsAbs(m.Target) || path.Clean(m.Target) != m.Target {
			bad("target %.80q: must be an absolute and clean path", m.Target)
		}
		if targets[m.Target] {
			bad("target %.80q: is given twice", m.Target)
		}
		targets[m.Target] = true
		if m.Overlay && m.Target != "/" {
			bad("overlay: only the root can have one")
		}
	}
	if !targets["/"] {
		errs = append(errs, errors.New(`mounts: none has the target "/"`))
	}
	return errs
}

// DecodeBootSpec decodes and validates the payload of a TypeSpec frame.
// Another version is a VersionError, unknown keys and values that Validate
// refuses are a ViolationError.
func DecodeBootSpec(b []byte) (BootSpec, error) {
	var s BootSpec
	if err := checkVersion("boot specification", b); err != nil {
		return s, err
	}
	if err := unmarshal("boot specification", b, &s, true); err != nil {
		return s, err
	}
	if err := s.Validate(); err != nil {
		return s, violation("boot specification: %v", err)
	}
	return s, nil
}
