package holt

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// PathPair maps a host directory into the guest. Its text form is
// "host:guest[:ro]".
type PathPair struct {
	// Host is the directory on the host. ParsePathPair makes it absolute; a
	// relative one is resolved against the working directory.
	Host string
	// Guest is where the guest sees it: absolute, clean, not / and not in
	// /proc, /sys or /dev, which belong to the guest's kernel.
	Guest string
	// ReadOnly refuses the guest's writes.
	ReadOnly bool
}

// reservedGuestDirs are mounted by the guest agent; a mapping there would hide
// what the guest needs to run.
var reservedGuestDirs = []string{"/proc", "/sys", "/dev"}

// ParsePathPair parses "host:guest", "host:guest:ro", "host:guest:rw" (the
// default, spelled out) or "path", which is used on both sides. The host side
// is made absolute against the working directory, and need not exist; the guest
// side must be absolute and clean. A path that contains ':' cannot be written.
func ParsePathPair(s string) (PathPair, error) {
	p, err := parsePathPair(s)
	if err != nil {
		return PathPair{}, fmt.Errorf("path pair %q: %w", s, err)
	}
	return p, nil
}

func parsePathPair(s string) (PathPair, error) {
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return PathPair{}, errors.New("must be host:guest[:ro] or path; a path that contains ':' cannot be mapped")
	}
	if parts[0] == "" {
		return PathPair{}, errNoHostPath
	}
	host, err := filepath.Abs(parts[0])
	if err != nil {
		return PathPair{}, fmt.Errorf("resolve the host path: %w", err)
	}
	p := PathPair{Host: host, Guest: host}
	if len(parts) > 1 {
		p.Guest = parts[1]
	}
	if len(parts) > 2 {
		if p.ReadOnly, err = parseMode(parts[2]); err != nil {
			return PathPair{}, err
		}
	}
	if err := p.check(); err != nil {
		return PathPair{}, err
	}
	return p, nil
}

func parseMode(s string) (readOnly bool, err error) {
	switch s {
	case "ro":
		return true, nil
	case "rw":
		return false, nil
	}
	return false, fmt.Errorf("mode %q must be ro or rw; a path that contains ':' cannot be mapped", s)
}

var errNoHostPath = errors.New("host path is empty; must be host:guest[:ro] or path")

// check returns what is wrong with p by itself, without looking at the host.
func (p PathPair) check() error {
	switch {
	case p.Host == "":
		return errNoHostPath
	case strings.ContainsRune(p.Host, ':'), strings.ContainsRune(p.Guest, ':'):
		return errors.New("paths must not contain ':'")
	case strings.ContainsRune(p.Host, 0), strings.ContainsRune(p.Guest, 0):
		return errNUL
	case !path.IsAbs(p.Guest):
		return fmt.Errorf("guest path %q must be absolute", p.Guest)
	case path.Clean(p.Guest) != p.Guest:
		return fmt.Errorf("guest path %q must be clean: %q", p.Guest, path.Clean(p.Guest))
	case p.Guest == "/":
		return errors.New(`guest path must not be "/"; root_path is what becomes the root`)
	}
	top, _, _ := strings.Cut(p.Guest[1:], "/")
	if slices.Contains(reservedGuestDirs, "/"+top) {
		return fmt.Errorf("guest path %q must not be in %s", p.Guest, strings.Join(reservedGuestDirs, ", "))
	}
	return nil
}

// String returns "host:guest" or "host:guest:ro", which parses to p again.
func (p PathPair) String() string {
	s := p.Host + ":" + p.Guest
	if p.ReadOnly {
		s += ":ro"
	}
	return s
}

// MarshalText is String. It fails on a pair that would not parse again, and on
// paths that are not UTF-8, which text cannot carry.
func (p PathPair) MarshalText() ([]byte, error) {
	s := p.String()
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("path pair %q: %w", s, err)
	}
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("path pair %q: %w", s, errNotUTF8)
	}
	return []byte(s), nil
}

// UnmarshalText is ParsePathPair.
func (p *PathPair) UnmarshalText(text []byte) error { return unmarshalText(p, text, ParsePathPair) }
