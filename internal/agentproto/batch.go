package agentproto

import (
	"errors"
	"io"
	"slices"
)

const (
	// packet is how much a Batch writes at once, in bytes: the largest packet of
	// Linux's virtio-vsock driver.
	packet = 64 << 10
	// worthReading is the least room in a packet for which a file is read, in bytes.
	worthReading = 4 << 10
)

// Batch gathers frames, so that many small ones cost few writes. What it writes
// blocks as long as the connection does. It is not safe for concurrent use.
type Batch struct {
	w   io.Writer
	buf []byte // grows to a packet, once that is needed
}

// NewBatch returns a Batch that is written to w.
func NewBatch(w io.Writer) *Batch { return &Batch{w: w} }

// Flush writes the frames that were gathered.
func (b *Batch) Flush() error {
	if len(b.buf) == 0 {
		return nil
	}
	_, err := b.w.Write(b.buf)
	b.buf = b.buf[:0]
	return err
}

// Frame gathers one frame.
func (b *Batch) Frame(t Type, payload []byte) error {
	if len(b.buf)+HeaderSize+len(payload) > packet {
		if err := b.Flush(); err != nil {
			return err
		}
	}
	b.buf = append(appendHeader(b.buf, t, len(payload)), payload...)
	return nil
}

// Report gathers a TypeReport frame with v as JSON.
func (b *Batch) Report(v any) error { return b.json(TypeReport, v) }

func (b *Batch) json(t Type, v any) error {
	payload, err := encode(t, v, MaxEntry)
	if err != nil {
		return err
	}
	return b.Frame(t, payload)
}

// Data gathers the data of a file, all that r gives, but for the TypeEnd frame at their
// end. They are read into the packet in which they are sent.
func (b *Batch) Data(r io.Reader) error {
	for {
		if packet-len(b.buf) < HeaderSize+worthReading {
			if err := b.Flush(); err != nil {
				return err
			}
		}
		at := len(b.buf)
		b.buf = slices.Grow(b.buf, packet-at)
		n, err := r.Read(b.buf[at+HeaderSize : packet])
		if n > 0 {
			b.buf = appendHeader(b.buf, TypeData, n)[:at+HeaderSize+n]
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// Tree gathers a tree, but for the TypeEnd frame at its end. next is that of a source of
// package filetree.
func (b *Batch) Tree(next func() (Entry, io.Reader, error)) error {
	for {
		e, data, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = b.json(TypeEntry, e)
		}
		if err == nil && e.HasData() {
			if err = b.Data(data); err == nil {
				err = b.Frame(TypeEnd, nil)
			}
		}
		if err != nil {
			return err
		}
	}
}
