package agentproto

import (
	"errors"
	"fmt"
	"path"
)

// FileOp is what is done with the guest's files.
type FileOp string

// What can be done. Unless it is said otherwise the answer is TypeOK.
const (
	// FileStat asks about a file: a TypeReport frame with its FileInfo, whose Name
	// is empty, then TypeOK.
	FileStat FileOp = "stat"
	// FileList asks what is in a directory: a TypeReport frame with the FileInfo of
	// each entry, in no order, then TypeOK.
	FileList FileOp = "list"
	// FileRead reads a file: a TypeReport frame with its FileInfo, its data in
	// TypeData frames, TypeEnd.
	FileRead FileOp = "read"
	// FileWrite writes a file in place: the data follow in TypeData frames, then
	// TypeEnd.
	FileWrite FileOp = "write"
	// FileMkdir makes a directory.
	FileMkdir FileOp = "mkdir"
	// FileRename gives a file the name To, as rename(2) does.
	FileRename FileOp = "rename"
	// FileRemove removes a file or an empty directory.
	FileRemove FileOp = "remove"
	// FileChmod sets the permission bits.
	FileChmod FileOp = "chmod"
	// FileChown sets the owner, the group, or both.
	FileChown FileOp = "chown"
	// FileChtimes sets the time of the last modification.
	FileChtimes FileOp = "chtimes"
	// FileSymlink makes a symbolic link that holds To.
	FileSymlink FileOp = "symlink"
	// FilePull reads a tree: TypeEntry frames with their data, then TypeEnd.
	FilePull FileOp = "pull"
	// FilePush writes a tree, which follows as FilePull sends one.
	FilePush FileOp = "push"
	// FileWatch reports changes: TypeReport frames with a WatchEvent each, until the
	// host closes the connection.
	FileWatch FileOp = "watch"
)

// MaxMode is the greatest FileRequest.Mode: the permission bits with the set-id and
// sticky bits.
const MaxMode = 0o7777

// FileRequest is what follows an OpFile header line. The guest resolves names in its
// own root, as they are resolved for root there.
type FileRequest struct {
	Op FileOp `json:"op"`
	// Path is absolute and clean.
	Path Name `json:"path"`
	// To is for FileRename, absolute and clean, and for FileSymlink, any text.
	To Name `json:"to,omitempty"`
	// Follow is for FileStat, FileChown, FileChtimes and FilePull: a symbolic link
	// stands for what it leads to. The other operations follow links as the system
	// calls of their name do.
	Follow bool `json:"follow,omitempty"`
	// Parents is for FileMkdir, FileWrite and FilePush: directories above Path that
	// are missing are made; and an existing directory is no error of FileMkdir.
	Parents bool `json:"parents,omitempty"`
	// Recursive is for FileRemove: with all that is in it; and for FileWatch: with
	// the directories below, those that appear later too.
	Recursive bool `json:"recursive,omitempty"`
	// Mode is for FileChmod, and for what FileMkdir and FileWrite make: 0 to MaxMode,
	// as it is, without a umask.
	Mode uint32 `json:"mode,omitempty"`
	// Offset is where FileRead and FileWrite begin, in bytes. Length is the most that
	// FileRead reads; a negative one reads up to the end.
	Offset int64 `json:"offset,omitempty"`
	Length int64 `json:"length,omitempty"`
	// These are for FileWrite, as the flags of open(2): make a missing file, only
	// that, empty an existing one, and write at its end.
	Create    bool `json:"create,omitempty"`
	Exclusive bool `json:"exclusive,omitempty"`
	Truncate  bool `json:"truncate,omitempty"`
	Append    bool `json:"append,omitempty"`
	// UID and GID are for FileChown. Nil leaves what there is.
	UID *uint32 `json:"uid,omitempty"`
	GID *uint32 `json:"gid,omitempty"`
	// MTimeNS is for FileChtimes, nanoseconds since 1970.
	MTimeNS int64 `json:"mtime_ns,omitempty"`
	// Owners is for FilePush: files get the owners of their entries, not root.
	Owners bool `json:"owners,omitempty"`
}

// Validate returns every reason for which q makes no sense, joined. It cannot know
// what exists in the guest.
func (q FileRequest) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !cleanPath(q.Path) {
		bad("path %.80q: must be an absolute, clean path of at most %d bytes", q.Path, MaxPath)
	}
	if q.Op == FileRename && !cleanPath(q.To) {
		bad("to %.80q: must be an absolute, clean path of at most %d bytes", q.To, MaxPath)
	}
	if q.Op == FileSymlink && (q.To == "" || len(q.To) > MaxPath) {
		bad("to %.80q: must be 1 to %d bytes", q.To, MaxPath)
	}
	if q.Mode > MaxMode {
		bad("mode %o: must be 0 to %o", q.Mode, MaxMode)
	}
	if q.Offset < 0 {
		bad("offset %d: must not be negative", q.Offset)
	}
	if q.Append && q.Offset != 0 {
		bad("append: goes to the end of the file, so it takes no offset")
	}
	if q.Exclusive && !q.Create {
		bad("exclusive: needs create")
	}
	rest, known := q.unused()
	switch {
	case !known:
		bad("unknown file operation %.64q", q.Op)
	case rest != FileRequest{}:
		bad("%s: has a key that is for other operations", q.Op)
	}
	return errors.Join(errs...)
}

// unused returns q without what its operation uses, and whether there is such an
// operation.
func (q FileRequest) unused() (rest FileRequest, known bool) {
	var none FileRequest
	op := q.Op
	q.Op, q.Path = none.Op, none.Path
	switch op {
	case FileList:
	case FileStat, FilePull:
		q.Follow = false
	case FileRead:
		q.Offset, q.Length = 0, 0
	case FileWrite:
		q.Parents, q.Mode, q.Offset = false, 0, 0
		q.Create, q.Exclusive, q.Truncate, q.Append = false, false, false, false
	case FileMkdir:
		q.Parents, q.Mode = false, 0
	case FileRename, FileSymlink:
		q.To = none.To
	case FileRemove, FileWatch:
		q.Recursive = false
	case FileChmod:
		q.Mode = 0
	case FileChown:
		q.Follow, q.UID, q.GID = false, nil, nil
	case FileChtimes:
		q.Follow, q.MTimeNS = false, 0
	case FilePush:
		q.Parents, q.Owners = false, false
	default:
		return q, false
	}
	return q, true
}

// cleanPath reports whether n is an absolute path that can be opened as it is.
func cleanPath(n Name) bool {
	p := string(n)
	return path.IsAbs(p) && len(p) <= MaxPath && path.Clean(p) == p && !hasNUL(n)
}

// FileRequest writes a TypeSpec frame. It fails when q is not valid.
func (w *Writer) FileRequest(q FileRequest) error {
	if err := q.Validate(); err != nil {
		return err
	}
	return w.json(TypeSpec, q, MaxSpec)
}

// DecodeFileRequest decodes and validates the payload of a TypeSpec frame that
// follows an OpFile header line. Unknown keys and values that Validate refuses are a
// ViolationError.
func DecodeFileRequest(b []byte) (FileRequest, error) {
	var q FileRequest
	if err := unmarshal("file request", b, &q, true); err != nil {
		return q, err
	}
	if err := q.Validate(); err != nil {
		return q, violation("file request: %v", err)
	}
	return q, nil
}
