package queue

import (
	"errors"
	"fmt"
	"math"
)

// Chain is one request: what the driver wrote for the device, then the room it
// left for the answer. The slices are guest memory: they may change at any
// moment, so whatever is checked must be copied first.
type Chain struct {
	Readable [][]byte // device-readable buffers, in order; none is empty
	Writable [][]byte // device-writable buffers, in order; none is empty

	head uint16
}

const (
	descNext     = 1 // VIRTQ_DESC_F_NEXT, 2.7.5
	descWrite    = 2 // VIRTQ_DESC_F_WRITE
	descIndirect = 4 // VIRTQ_DESC_F_INDIRECT

	// maxIndirect bounds an indirect table. The specification says the queue
	// size (2.7.5.3.1), but Linux may exceed it with large requests.
	maxIndirect = 1024
)

// walk fills c with the chain that starts at head.
func (q *Queue) walk(head uint16, c *Chain) error {
	c.head = head
	c.Readable, c.Writable = c.Readable[:0], c.Writable[:0]
	table, limit, inside := q.desc, int(q.size), false
	var total uint64
	for i, seen := int(head), 0; ; seen++ {
		if i >= len(table)/16 {
			return fmt.Errorf("descriptor %d in a table of %d", i, len(table)/16)
		}
		if seen >= limit {
			return fmt.Errorf("chain at %d is longer than %d: a loop", head, limit)
		}
		d := loadDesc(table, i)
		if d.flags&descIndirect != 0 {
			t, err := q.indirectTable(d, inside)
			if err != nil {
				return err
			}
			table, limit, inside = t, len(t)/16, true
			i, seen = 0, -1
			continue
		}
		if total += uint64(d.len); total > math.MaxUint32 {
			return errors.New("chain of more than 4 GiB")
		}
		var err error
		switch {
		case d.flags&descWrite != 0:
			c.Writable, err = q.mem.AppendSlices(c.Writable, d.addr, uint64(d.len))
		case len(c.Writable) > 0:
			err = errors.New("readable buffer after a writable one")
		default:
			c.Readable, err = q.mem.AppendSlices(c.Readable, d.addr, uint64(d.len))
		}
		if err != nil {
			return fmt.Errorf("descriptor %d: %w", i, err)
		}
		if d.flags&descNext == 0 {
			return nil
		}
		i = int(d.next)
	}
}

// indirectTable resolves the table that d points to (2.7.5.3).
func (q *Queue) indirectTable(d descriptor, inside bool) ([]byte, error) {
	switch {
	case !q.indirect:
		return nil, errors.New("indirect descriptor without the feature")
	case inside:
		return nil, errors.New("indirect descriptor in an indirect table")
	case d.flags&descNext != 0:
		return nil, errors.New("indirect descriptor with a next one")
	case d.len == 0 || d.len%16 != 0 || d.len > 16*maxIndirect:
		return nil, fmt.Errorf("indirect table of %d bytes", d.len)
	}
	t, err := q.mem.Slice(d.addr, uint64(d.len))
	if err != nil {
		return nil, fmt.Errorf("indirect table: %w", err)
	}
	return t, nil
}

// ReadableLen is the number of bytes that the driver wrote.
func (c *Chain) ReadableLen() int { return total(c.Readable) }

// WritableLen is the number of bytes that the device may write.
func (c *Chain) WritableLen() int { return total(c.Writable) }

// Read copies readable bytes from off on into p and returns how many there
// were.
func (c *Chain) Read(p []byte, off int) int {
	n := 0
	for _, b := range c.Readable {
		if off >= len(b) {
			off -= len(b)
			continue
		}
		n += copy(p[n:], b[off:])
		off = 0
	}
	return n
}

// Write copies p into the writable part from off on and returns how many bytes
// fitted.
func (c *Chain) Write(p []byte, off int) int {
	n := 0
	for _, b := range c.Writable {
		if off >= len(b) {
			off -= len(b)
			continue
		}
		n += copy(b[off:], p[n:])
		off = 0
	}
	return n
}

func total(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	return n
}
