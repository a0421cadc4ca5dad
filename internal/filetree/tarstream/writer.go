package tarstream

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"golang.org/x/sys/unix"
)

// Writer writes a tree as an archive in the PAX format, with times in nanoseconds. It is
// a filetree.Sink. An archive says how long a file is before it has the data: of one
// that has grown since the end is left out, and one that has shrunk is filled up with
// zeros, which Close reports; by more than a GiB is an error.
type Writer struct {
	archive *tar.Writer
	out     *bufio.Writer
	buf     []byte
	shrunk  error // the first
	err     error // after it the archive cannot be whole
}

// buffer is how much is read or written at a time, in bytes.
const buffer = 64 << 10

// maxFill is how many zeros at most stand for what a file has shrunk by, in bytes: who
// sends the tree may claim any size.
const maxFill = 1 << 30

// NewWriter returns a writer of an archive to w.
func NewWriter(w io.Writer) *Writer {
	out := bufio.NewWriterSize(w, buffer)
	return &Writer{archive: tar.NewWriter(out), out: out, buf: make([]byte, buffer)}
}

// Put implements filetree.Sink.
func (w *Writer) Put(e agentproto.Entry, data io.Reader) error {
	if w.err == nil {
		w.err = w.put(e, data)
	}
	return w.err
}

// Close ends the archive; it does not close what it is written to. After an error it
// leaves the archive without an end.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	if err := errors.Join(w.archive.Close(), w.out.Flush()); err != nil {
		return fmt.Errorf("write tar archive: %w", err)
	}
	return w.shrunk
}

func (w *Writer) put(e agentproto.Entry, data io.Reader) error {
	if err := e.Validate(); err != nil {
		return err
	}
	h := &tar.Header{
		Format:  tar.FormatPAX,
		Name:    string(e.Path),
		Mode:    int64(e.Mode & 0o7777),
		Uid:     int(e.UID),
		Gid:     int(e.GID),
		ModTime: time.Unix(0, e.MTimeNS),
	}
	switch kind := e.Mode & unix.S_IFMT; {
	case e.HardLink:
		h.Typeflag, h.Linkname = tar.TypeLink, string(e.Target)
	case kind == unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case kind == unix.S_IFLNK:
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(e.Target)
	case kind == unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case kind == unix.S_IFCHR, kind == unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if kind == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(e.Rdev)), int64(unix.Minor(e.Rdev))
	default:
		h.Typeflag = tar.TypeReg
		if data != nil {
			h.Size = e.Size
		}
	}
	if err := w.archive.WriteHeader(h); err != nil {
		return fmt.Errorf("write tar archive: %.500q: %w", h.Name, err)
	}
	if h.Typeflag != tar.TypeReg || data == nil {
		return nil
	}
	return w.data(h, data)
}

// data writes as many bytes as the header has announced.
func (w *Writer) data(h *tar.Header, data io.Reader) error {
	n, err := io.CopyBuffer(w.archive, io.LimitReader(data, h.Size), w.buf)
	if err != nil || n == h.Size {
		return err
	}
	if h.Size-n > maxFill {
		return fmt.Errorf("write tar archive: %.500q has shrunk from %d to %d bytes meanwhile", h.Name, h.Size, n)
	}
	if w.shrunk == nil {
		w.shrunk = fmt.Errorf("write tar archive: %.500q has shrunk from %d to %d bytes meanwhile, and ends in zeros now", h.Name, h.Size, n)
	}
	_, err = io.CopyN(w.archive, zeros{}, h.Size-n)
	return err
}

// zeros yields zeros without end.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
