package holt

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Disk is a disk image on the host, or a block device, that the guest has as a
// virtio disk. It is raw: byte n of the file is byte n of the disk, whatever the
// content looks like. Its text form is "file[:ro]".
type Disk struct {
	// Path is the file on the host. ParseDisk makes it absolute; a relative one is
	// resolved against the working directory.
	Path string
	// ReadOnly refuses the guest's writes. Several VMs may share such a disk; a
	// disk that is written belongs to one VM at a time.
	ReadOnly bool
}

// ParseDisk parses "file", "file:ro" or "file:rw" (the default, spelled out). The
// file is made absolute against the working directory, and need not exist. A path
// that contains ':' cannot be written.
func ParseDisk(s string) (Disk, error) {
	d, err := parseDisk(s)
	if err != nil {
		return Disk{}, fmt.Errorf("disk %q: %w", s, err)
	}
	return d, nil
}

func parseDisk(s string) (Disk, error) {
	var d Disk
	name, mode, found := strings.Cut(s, ":")
	if found {
		var err error
		if d.ReadOnly, err = parseMode(mode); err != nil {
			return Disk{}, err
		}
	}
	if name == "" {
		return Disk{}, errNoDisk
	}
	var err error
	if d.Path, err = filepath.Abs(name); err != nil {
		return Disk{}, fmt.Errorf("resolve the path: %w", err)
	}
	return d, d.check()
}

var errNoDisk = errors.New("path is empty; must be file[:ro]")

// check returns what is wrong with d by itself, without looking at the host.
func (d Disk) check() error {
	switch {
	case d.Path == "":
		return errNoDisk
	case strings.ContainsRune(d.Path, ':'):
		return errors.New("path must not contain ':'")
	case strings.ContainsRune(d.Path, 0):
		return errNUL
	}
	return nil
}

// String returns "file" or "file:ro", which parses to d again.
func (d Disk) String() string {
	if d.ReadOnly {
		return d.Path + ":ro"
	}
	return d.Path
}

// MarshalText is String. It fails on a disk that would not parse again, and on a
// path that is not UTF-8, which text cannot carry.
func (d Disk) MarshalText() ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("disk %q: %w", d, err)
	}
	if !utf8.ValidString(d.Path) {
		return nil, fmt.Errorf("disk %q: %w", d, errNotUTF8)
	}
	return []byte(d.String()), nil
}

// UnmarshalText is ParseDisk.
func (d *Disk) UnmarshalText(text []byte) error { return unmarshalText(d, text, ParseDisk) }
