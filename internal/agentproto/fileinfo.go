package agentproto

import (
	"slices"
	"strings"
)

// FileInfo is what the guest's kernel knows of a file (stat(2)).
type FileInfo struct {
	// Name is that of an entry of a directory, without any slash.
	Name Name `json:"name,omitempty"`
	// Mode is Linux's st_mode: the type (S_IFMT), the permission bits, and the set-id
	// and sticky bits.
	Mode uint32 `json:"mode"`
	// Size is in bytes; files that the kernel makes up, as in /proc, say 0.
	Size int64 `json:"size"`
	// MTimeNS is the time of the last modification, nanoseconds since 1970.
	MTimeNS int64  `json:"mtime_ns"`
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Nlink   uint64 `json:"nlink"`
	Inode   uint64 `json:"inode"`
	// Rdev is a device's number, as makedev(3) makes it.
	Rdev uint64 `json:"rdev,omitempty"`
	// Target is what a symbolic link holds.
	Target Name `json:"target,omitempty"`
}

// DecodeFileInfo decodes the payload of a TypeReport frame about a file. A name that
// leads anywhere else than into its directory is a ViolationError.
func DecodeFileInfo(b []byte) (FileInfo, error) {
	var i FileInfo
	if err := unmarshal("file", b, &i, false); err != nil {
		return i, err
	}
	switch {
	case len(i.Name) > maxComponent || strings.Contains(string(i.Name), "/") || i.Name == "." || i.Name == "..":
		return i, violation("file: %.80q is no name in a directory", i.Name)
	case i.Size < 0 || i.Mode > 0xffff || len(i.Target) > MaxPath:
		return i, violation("file: size %d, mode %o and a target of %d bytes are none of a file", i.Size, i.Mode, len(i.Target))
	}
	return i, nil
}

// WatchOp says what happened to a file.
type WatchOp string

// What can happen.
const (
	// WatchReady is the first event: from now on changes are seen.
	WatchReady WatchOp = "ready"
	// WatchCreate: the name appeared, made or renamed to. In a directory that
	// appeared a file may be reported twice.
	WatchCreate WatchOp = "create"
	// WatchWrite: the content changed.
	WatchWrite WatchOp = "write"
	// WatchChmod: the permissions, the owner, the times or the links changed.
	WatchChmod WatchOp = "chmod"
	// WatchRemove: the name was removed.
	WatchRemove WatchOp = "remove"
	// WatchRename: the file has another name now, which is reported as WatchCreate if
	// it is watched too.
	WatchRename WatchOp = "rename"
	// WatchOverflow: there were more events than the kernel keeps, and some are lost.
	WatchOverflow WatchOp = "overflow"
)

// WatchEvent is one change that FileWatch reports.
type WatchEvent struct {
	// Path is absolute and clean.
	Path Name    `json:"path"`
	Op   WatchOp `json:"op"`
}

// DecodeWatchEvent decodes the payload of a TypeReport frame of FileWatch. An unknown
// operation and a path that is not absolute and clean are a ViolationError.
func DecodeWatchEvent(b []byte) (WatchEvent, error) {
	var e WatchEvent
	if err := unmarshal("watch event", b, &e, false); err != nil {
		return e, err
	}
	known := []WatchOp{WatchReady, WatchCreate, WatchWrite, WatchChmod, WatchRemove, WatchRename, WatchOverflow}
	if !cleanPath(e.Path) || !slices.Contains(known, e.Op) {
		return e, violation("watch event: %.64q of %.80q is none", e.Op, e.Path)
	}
	return e, nil
}
