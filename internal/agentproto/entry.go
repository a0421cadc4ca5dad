package agentproto

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Entry is one node of a tree of files that is copied, in either direction. A
// directory comes before what is in it. The data of a regular file follow in
// TypeData frames up to a TypeEnd frame; Size is only a hint for whoever shows
// progress, since a file may change while it is read. A TypeEnd frame in the place
// of an entry ends the tree.
type Entry struct {
	// Path is relative to the tree's top, clean, with slashes, and without ".."; the
	// top itself is ".".
	Path Name `json:"path"`
	// Mode is Linux's st_mode: the type (S_IFMT) and the permission bits, set-id and
	// sticky bits included. A socket is never sent.
	Mode uint32 `json:"mode"`
	UID  uint32 `json:"uid,omitempty"`
	GID  uint32 `json:"gid,omitempty"`
	// MTimeNS is the time of the last modification, nanoseconds since 1970.
	MTimeNS int64 `json:"mtime_ns"`
	// Size of a regular file, in bytes.
	Size int64 `json:"size,omitempty"`
	// Target is what a symbolic link holds, any text; or, with HardLink, the Path of
	// the earlier entry that this one is another name of, and no data follow.
	Target   Name `json:"target,omitempty"`
	HardLink bool `json:"hard_link,omitempty"`
	// Rdev is a device's number, as makedev(3) makes it.
	Rdev uint64 `json:"rdev,omitempty"`
}

// The bounds of an entry's names, in bytes: what Linux takes.
const (
	maxPath      = 4095
	maxComponent = 255
)

// Validate says what is wrong with an entry, wherever it comes from: a path that is
// not clean or leads out of the tree, an unknown type, a link to nothing.
func (e Entry) Validate() error {
	if e.Path != "." {
		if err := checkTreePath(e.Path); err != nil {
			return fmt.Errorf("entry %.80q: its path %w", e.Path, err)
		}
	}
	if err := e.checkTarget(); err != nil {
		return fmt.Errorf("entry %.80q: %w", e.Path, err)
	}
	if e.Size < 0 {
		return fmt.Errorf("entry %.80q: its size is %d", e.Path, e.Size)
	}
	const known = syscall.S_IFMT | 0o7777
	switch e.Mode & syscall.S_IFMT {
	case syscall.S_IFREG, syscall.S_IFDIR, syscall.S_IFLNK, syscall.S_IFIFO, syscall.S_IFCHR, syscall.S_IFBLK:
		if e.Mode&^known == 0 {
			return nil
		}
	}
	return fmt.Errorf("entry %.80q: its mode %#o is none of a file, directory, symbolic link, FIFO or device", e.Path, e.Mode)
}

func (e Entry) checkTarget() error {
	switch kind := e.Mode & syscall.S_IFMT; {
	case e.HardLink:
		if kind == syscall.S_IFDIR || e.Path == "." || e.Path == e.Target {
			return errors.New("it cannot be a hard link")
		}
		if err := checkTreePath(e.Target); err != nil {
			return fmt.Errorf("the path that it is a hard link to, %.80q, %w", e.Target, err)
		}
	case kind == syscall.S_IFLNK:
		if e.Target == "" || len(e.Target) > maxPath || hasNUL(e.Target) {
			return fmt.Errorf("it is a symbolic link with a text of %d bytes, and must have 1 to %d without NUL", len(e.Target), maxPath)
		}
	case e.Target != "":
		return errors.New("it is no link and has a target")
	}
	return nil
}

// checkTreePath checks the path of something below a tree's top.
func checkTreePath(n Name) error {
	if len(n) > maxPath {
		return fmt.Errorf("has %d bytes, and %d is the most", len(n), maxPath)
	}
	if hasNUL(n) {
		return errors.New("has a NUL")
	}
	for part := range strings.SplitSeq(string(n), "/") {
		if part == "" || part == "." || part == ".." {
			return errors.New("is not a clean one below the tree's top")
		}
		if len(part) > maxComponent {
			return fmt.Errorf("has a part of %d bytes, and %d is the most", len(part), maxComponent)
		}
	}
	return nil
}

func hasNUL(n Name) bool { return strings.IndexByte(string(n), 0) >= 0 }
