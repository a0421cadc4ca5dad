package agentproto

import (
	"errors"
	"io"
	"syscall"
)

// DecodeEntry decodes and validates the payload of TypeEntry. Unknown keys, and a path
// that leads out of the tree, are a ViolationError.
func DecodeEntry(b []byte) (Entry, error) {
	var e Entry
	if err := unmarshal("entry", b, &e, true); err != nil {
		return e, err
	}
	if err := e.Validate(); err != nil {
		return e, violation("entry: %v", err)
	}
	return e, nil
}

// HasData reports whether e's data follow it: it is a regular file, and no other name
// of an earlier one.
func (e Entry) HasData() bool { return e.Mode&syscall.S_IFMT == syscall.S_IFREG && !e.HardLink }

// DataReader reads the data of one file, up to TypeEnd. An *Error is the sender's, with
// printable text.
type DataReader struct {
	in   *Reader
	rest []byte // of the last frame
	err  error  // io.EOF after TypeEnd
}

// Data returns a reader of the data that come next. Nothing else may read from r until
// it has returned an error.
func (r *Reader) Data() *DataReader { return &DataReader{in: r} }

// Read implements io.Reader.
func (d *DataReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(d.rest) == 0 {
		if err := d.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: each frame is written as it is.
func (d *DataReader) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		if len(d.rest) > 0 {
			n, err := w.Write(d.rest)
			written += int64(n)
			d.rest = d.rest[n:]
			if err != nil {
				return written, err
			}
		}
		if err := d.next(); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return written, err
		}
	}
}

// next reads the next frame of data.
func (d *DataReader) next() error {
	if d.err != nil {
		return d.err
	}
	f, err := d.in.part()
	switch {
	case err != nil:
		d.err = err
	case f.Type == TypeData:
		d.rest = f.Payload
	case f.Type == TypeEnd:
		d.err = io.EOF
	default:
		d.err = violation("frame of type %d in the data of a file", f.Type)
	}
	return d.err
}

// part reads a frame of an answer that has several. The end of the connection is an
// io.ErrUnexpectedEOF here, and a TypeError frame the *Error that it carries.
func (r *Reader) part() (Frame, error) {
	f, err := r.Next()
	switch {
	case errors.Is(err, io.EOF):
		return f, io.ErrUnexpectedEOF
	case err != nil || f.Type != TypeError:
		return f, err
	}
	e, err := DecodeError(f.Payload)
	if err != nil {
		return f, err
	}
	e.Message = Printable(e.Message, MaxMessage)
	return f, e
}

// TreeReader reads a tree. It is a source of package filetree.
type TreeReader struct {
	in         *Reader
	data       *DataReader // of the last entry
	begun, dir bool        // the top has come, and is a directory
	err        error
}

// Tree returns a reader of the tree that comes next.
func (r *Reader) Tree() *TreeReader { return &TreeReader{in: r} }

// Next returns the next entry and, of a regular file, its data, which are valid until
// the next call and need not be read. After the last entry it returns io.EOF. The first
// entry is the top, and no other is; what cannot be so is a ViolationError.
func (t *TreeReader) Next() (Entry, io.Reader, error) {
	e, err := t.next()
	if err != nil {
		t.err = err
		return Entry{}, nil, err
	}
	if !e.HasData() {
		return e, nil, nil
	}
	t.data = t.in.Data()
	return e, t.data, nil
}

func (t *TreeReader) next() (Entry, error) {
	if t.err != nil {
		return Entry{}, t.err
	}
	if t.data != nil {
		if _, err := t.data.WriteTo(io.Discard); err != nil {
			return Entry{}, err
		}
		t.data = nil
	}
	f, err := t.in.part()
	switch {
	case err != nil:
		return Entry{}, err
	case f.Type == TypeEnd && t.begun:
		return Entry{}, io.EOF
	case f.Type != TypeEntry:
		return Entry{}, violation("frame of type %d in the place of an entry", f.Type)
	}
	e, err := DecodeEntry(f.Payload)
	switch {
	case err != nil:
		return e, err
	case (e.Path == ".") == t.begun || t.begun && !t.dir:
		return e, violation("entry %.80q: not the top first, and then what is in it", e.Path)
	}
	if !t.begun {
		t.begun, t.dir = true, e.Mode&syscall.S_IFMT == syscall.S_IFDIR
	}
	return e, nil
}
