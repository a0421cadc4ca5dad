package agentproto

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Bounds of a BootSpec.
const (
	// MaxMounts is the greatest number of file systems.
	MaxMounts = 256
	// MaxTag is the longest virtio-fs tag, in bytes (virtio 1.2, 5.11.4).
	MaxTag = 36
	// MaxSerial is the longest serial of a disk, in bytes (virtio 1.2, 5.2.6).
	MaxSerial = 20
	// MaxHostname is the longest host name, in bytes (uname(2)).
	MaxHostname = 64
)

// BootSpec is what the agent is to do: the host's answer to Hello.
type BootSpec struct {
	// Holt is the protocol version.
	Holt int `json:"holt"`
	// Hostname is set if it is not empty. It is a host name: labels of letters,
	// digits and hyphens, with dots between them.
	Hostname string `json:"hostname,omitempty"`
	// ClockNS is the wall clock, in nanoseconds since 1970; 0 leaves the
	// guest's clock alone.
	ClockNS int64 `json:"clock_ns,omitempty"`
	// Nested loads KVM in the guest and makes sure that /dev/kvm is there.
	Nested bool `json:"nested,omitempty"`
	// Mounts are the file systems of the host's making. Exactly one is the root.
	Mounts []Mount `json:"mounts"`
	// Network is the guest's network. Without one it has its loopback interface.
	Network *Network `json:"network,omitempty"`
	// Hold makes the guest ready and runs no main program yet: the agent answers with
	// TypeOK, and an OpRenew starts it. The boot connection is not needed after that.
	Hold bool `json:"hold,omitempty"`
	// Program is the main program. With Hold it is not looked at.
	Program Program `json:"program,omitzero"`
}

// Mount is one file system.
type Mount struct {
	// Kind is what is mounted.
	Kind MountKind `json:"kind,omitempty"`
	// Tag is the virtio-fs device's tag or the virtio-blk device's serial, which
	// consists of letters, digits and "._-". A memory root has none.
	Tag string `json:"tag,omitempty"`
	// Target is where it is mounted: an absolute, clean path in the guest.
	Target string `json:"target"`
	// ReadOnly refuses writes.
	ReadOnly bool `json:"read_only,omitempty"`
	// Overlay keeps writes in guest memory and the file system below read-only.
	// For the root only, and not for one that is in memory already.
	Overlay bool `json:"overlay,omitempty"`
}

// MountKind is a kind of file system.
type MountKind string

// The kinds of file system.
const (
	// MountShare is a host directory, shared through virtio-fs.
	MountShare MountKind = ""
	// MountDisk is a virtio-blk device with a file system, of any type that the
	// guest kernel knows. For the root only.
	MountDisk MountKind = "disk"
	// MountMemory is what the kernel unpacked into /newroot of the initramfs. For
	// the root only.
	MountMemory MountKind = "memory"
)

// Validate returns every reason for which s cannot be carried out, joined.
func (s BootSpec) Validate() error {
	var errs []error
	if err := checkHostname(s.Hostname); err != nil {
		errs = append(errs, err)
	}
	if err := checkClock(s.ClockNS); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, validateMounts(s.Mounts)...)
	if s.Network != nil {
		if err := s.Network.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("network: %w", err))
		}
	}
	if s.Hold {
		return errors.Join(errs...)
	}
	if err := s.Program.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("program: %w", err))
	}
	return errors.Join(errs...)
}

func checkHostname(name string) error {
	if len(name) > MaxHostname || name != "" && !ValidName(name) {
		return fmt.Errorf("hostname: %.80q: must be at most %d bytes of letters, digits, hyphens and dots", name, MaxHostname)
	}
	return nil
}

func checkClock(ns int64) error {
	if ns < 0 {
		return fmt.Errorf("clock_ns: %d: must not be negative", ns)
	}
	return nil
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
		for _, err := range m.checkKind() {
			bad("%w", err)
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

// checkKind returns what is wrong about the keys whose meaning depends on the kind.
func (m Mount) checkKind() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch m.Kind {
	case MountShare:
		if m.Tag == "" || len(m.Tag) > MaxTag || !textOK(m.Tag) {
			bad("tag %.80q: must be 1 to %d bytes of UTF-8 without NUL", m.Tag, MaxTag)
		}
		return errs
	case MountDisk:
		if m.Tag == "" || len(m.Tag) > MaxSerial || strings.Trim(m.Tag, lettersDigits+"._-") != "" {
			bad("tag %.80q: the serial of a disk must be 1 to %d letters, digits, dots, underscores and hyphens", m.Tag, MaxSerial)
		}
	case MountMemory:
		if m.Tag != "" {
			bad("tag %.80q: a root in memory has none", m.Tag)
		}
		if m.Overlay {
			bad("overlay: a root in memory needs none")
		}
	default:
		return append(errs, fmt.Errorf("kind %.80q: must be absent, %q or %q", m.Kind, MountDisk, MountMemory))
	}
	if m.Target != "/" {
		bad("kind %q: only the root can be that", m.Kind)
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
