package agentproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Reader reads what one end sends. It is not safe for concurrent use.
type Reader struct {
	from Sender
	r    *bufio.Reader
	buf  []byte // grows to the largest payload seen, never past MaxSpec
}

// readBuffer is how much a Reader reads ahead, in bytes: enough for many small frames.
// The agent has hundreds of them, and the rest of a large frame is read past it.
const readBuffer = 16 << 10

// NewReader returns a Reader of r, at whose other end sits the given sender.
func NewReader(r io.Reader, from Sender) *Reader {
	return &Reader{from: from, r: bufio.NewReaderSize(r, readBuffer)}
}

// line reads one header line, without its newline. io.EOF means that the connection
// ended before the first byte.
func (r *Reader) line() ([]byte, error) {
	var line []byte
	for {
		b, err := r.r.ReadSlice('\n')
		line = append(line, b...)
		switch {
		case len(line) > MaxLine || errors.Is(err, bufio.ErrBufferFull) && len(line) == MaxLine:
			return nil, violation("header line is longer than %d bytes", MaxLine)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		return line[:len(line)-1], nil
	}
}

// Next reads one frame. A type that the sender may not send, a length that the
// type cannot have, and reserved bytes that are not zero are a ViolationError,
// found before anything is allocated. io.EOF means that the connection ended
// between two frames.
func (r *Reader) Next() (Frame, error) {
	h, err := r.r.Peek(HeaderSize)
	if err != nil {
		if errors.Is(err, io.EOF) && len(h) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	t, size := Type(h[0]), binary.LittleEndian.Uint32(h[4:8])
	if h[1] != 0 || h[2] != 0 || h[3] != 0 {
		return Frame{}, violation("reserved bytes of a frame of type %d are not zero", t)
	}
	least, most, ok := r.from.lengths(t)
	if !ok {
		return Frame{}, violation("unexpected frame of type %d", t)
	}
	if size < least || size > most {
		return Frame{}, violation("frame of type %d has %d bytes, not %d to %d", t, size, least, most)
	}
	if _, err := r.r.Discard(HeaderSize); err != nil {
		return Frame{}, err
	}
	if uint32(cap(r.buf)) < size {
		r.buf = make([]byte, size)
	}
	payload := r.buf[:size]
	if _, err := io.ReadFull(r.r, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return Frame{Type: t, Payload: payload}, nil
}

// unmarshal decodes exactly one JSON value. With strict, an unknown key is an
// error: an agent must not leave out something that the host asked for.
func unmarshal(what string, data []byte, v any, strict bool) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(v); err != nil {
		return violation("%s: %v", what, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return violation("%s: data after the JSON value", what)
	}
	return nil
}

// VersionError says that the two ends speak different versions.
type VersionError struct {
	Theirs int
}

// Error implements error.
func (e *VersionError) Error() string {
	return fmt.Sprintf("agent protocol version: the other end speaks %d, this end %d", e.Theirs, Version)
}

// checkVersion looks at the version alone, so that a message of another
// version, whose other keys mean nothing here, gets the right answer.
func checkVersion(what string, data []byte) error {
	var v struct {
		Holt int `json:"holt"`
	}
	if err := unmarshal(what, data, &v, false); err != nil {
		return err
	}
	if v.Holt != Version {
		return &VersionError{Theirs: v.Holt}
	}
	return nil
}
