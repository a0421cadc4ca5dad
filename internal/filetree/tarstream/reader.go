// Package tarstream reads and writes trees of files as tar archives.
package tarstream

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/filetree"
	"golang.org/x/sys/unix"
)

// Reader reads an archive as a tree. It is a filetree.Source. The tree begins with its
// top, a directory, whether the archive has that or not. Leading slashes are dropped from
// paths, as tar does; a path with ".." is an error. Extended attributes are ignored.
type Reader struct {
	archive *tar.Reader
	begun   bool
	held    *agentproto.Entry // the archive's first one, while the top goes before it
}

// NewReader returns a reader of the archive that r yields, which is not compressed. It
// may read more of r than the archive.
func NewReader(r io.Reader) *Reader {
	return &Reader{archive: tar.NewReader(bufio.NewReaderSize(r, buffer))}
}

// Next implements filetree.Source.
func (r *Reader) Next() (agentproto.Entry, io.Reader, error) {
	e, err := r.next()
	if !r.begun && (err == nil || errors.Is(err, io.EOF)) {
		r.begun = true
		if err != nil || e.Path != "." {
			if err == nil {
				r.held = &e
			}
			return agentproto.Entry{Path: ".", Mode: unix.S_IFDIR | 0o755, MTimeNS: time.Now().UnixNano()}, nil, nil
		}
	}
	if err != nil || !e.HasData() {
		return e, nil, err
	}
	return e, r.archive, nil
}

func (r *Reader) next() (agentproto.Entry, error) {
	if r.held != nil {
		e := *r.held
		r.held = nil
		return e, nil
	}
	for {
		h, err := r.archive.Next()
		if errors.Is(err, io.EOF) {
			return agentproto.Entry{}, io.EOF
		}
		if err != nil {
			return agentproto.Entry{}, fmt.Errorf("read tar archive: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // says nothing about files; git writes one
		}
		e, err := entryOf(h)
		if err != nil {
			return e, fmt.Errorf("read tar archive: member %.500q: %w", h.Name, err)
		}
		if e.Path != "." || !r.begun {
			return e, nil
		}
	}
}

var types = map[byte]uint32{
	tar.TypeReg:       unix.S_IFREG,
	tar.TypeCont:      unix.S_IFREG,
	tar.TypeGNUSparse: unix.S_IFREG,
	tar.TypeLink:      unix.S_IFREG,
	tar.TypeSymlink:   unix.S_IFLNK,
	tar.TypeDir:       unix.S_IFDIR,
	tar.TypeFifo:      unix.S_IFIFO,
	tar.TypeChar:      unix.S_IFCHR,
	tar.TypeBlock:     unix.S_IFBLK,
}

func entryOf(h *tar.Header) (agentproto.Entry, error) {
	kind, ok := types[h.Typeflag]
	if !ok {
		return agentproto.Entry{}, fmt.Errorf("its type %q is not supported", h.Typeflag)
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > math.MaxUint32 || int64(h.Gid) > math.MaxUint32 {
		return agentproto.Entry{}, fmt.Errorf("its owner %d:%d does not exist on Linux", h.Uid, h.Gid)
	}
	name, err := clean(h.Name)
	if err != nil {
		return agentproto.Entry{}, err
	}
	e := agentproto.Entry{
		Path:    name,
		Mode:    kind | uint32(h.Mode)&0o7777,
		UID:     uint32(h.Uid),
		GID:     uint32(h.Gid),
		MTimeNS: filetree.MTimeNS(h.ModTime.Unix(), int64(h.ModTime.Nanosecond())),
	}
	switch h.Typeflag {
	case tar.TypeLink:
		e.HardLink = true
		if e.Target, err = clean(h.Linkname); err != nil {
			return e, err
		}
	case tar.TypeSymlink:
		e.Target = agentproto.Name(h.Linkname)
	case tar.TypeChar, tar.TypeBlock:
		if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor > math.MaxUint32 || h.Devminor > math.MaxUint32 {
			return e, fmt.Errorf("device %d:%d does not exist on Linux", h.Devmajor, h.Devminor)
		}
		e.Rdev = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	}
	if e.HasData() {
		e.Size = h.Size
	}
	if e.Path == "." && kind != unix.S_IFDIR {
		return e, errors.New("it has no name")
	}
	return e, e.Validate()
}

// clean makes the path of an entry of that of a member.
func clean(name string) (agentproto.Name, error) {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf(`its path %.500q has ".."`, name)
	}
	return agentproto.Name(path.Clean("./" + strings.TrimLeft(name, "/"))), nil
}
