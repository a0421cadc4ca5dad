package blk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/holtvm/holt/internal/virtio/queue"
)

// Request types, 5.2.6.
const (
	typeIn          = 0
	typeOut         = 1
	typeFlush       = 4
	typeGetID       = 8
	typeDiscard     = 11
	typeWriteZeroes = 13
)

// headerSize is that of type, reserved and sector, in bytes.
const headerSize = 16

// manyBytes is more data than others should wait behind while there is a second
// processor to copy it.
const manyBytes = 64 << 10

// request is one request of the guest. Requests are used again and again.
type request struct {
	d     *Device
	rq    *requestQueue
	chain queue.Chain
	run   func() // work, bound once: so that `go` allocates nothing

	kind   uint32
	sector uint64
	out    [][]byte // guest memory: data for the device
	in     [][]byte // guest memory: room for data
	status []byte   // guest memory: the byte behind in
}

func newRequest(d *Device) *request {
	r := &request{d: d}
	r.run = r.work
	return r
}

// parse takes the chain apart. The driver may have cut it into buffers in any way
// (2.7.4.4): the header is the first 16 bytes that can be read, the status the last
// that can be written. A chain without either cannot even be refused.
func (r *request) parse(rq *requestQueue) error {
	r.rq = rq
	var header [headerSize]byte
	if n := r.chain.Read(header[:], 0); n < headerSize {
		return fmt.Errorf("block request with %d bytes of header", n)
	}
	if len(r.chain.Writable) == 0 {
		return errors.New("block request without room for its status")
	}
	r.kind = binary.LittleEndian.Uint32(header[0:])
	r.sector = binary.LittleEndian.Uint64(header[8:])

	r.in = r.chain.Writable
	last := &r.in[len(r.in)-1]
	end := len(*last) - 1
	*last, r.status = (*last)[:end], (*last)[end:]
	if end == 0 {
		r.in = r.in[:len(r.in)-1]
	}

	r.out = r.chain.Readable
	skip := headerSize
	for len(r.out) > 0 && skip >= len(r.out[0]) {
		skip -= len(r.out[0])
		r.out = r.out[1:]
	}
	if skip > 0 {
		r.out[0] = r.out[0][skip:]
	}
	return nil
}

// large reports whether there is much data to copy.
func (r *request) large() bool { return size(r.in) > manyBytes || size(r.out) > manyBytes }

// work carries out what may take time, on a goroutine of its own.
func (r *request) work() {
	rq := r.rq
	defer rq.inFlight.Done()
	r.serve(true)
	r.d.idle <- r
}

// serve carries the request out, answers it and reports true; or it reports false
// for what it is expected to have to wait for, if it may not.
func (r *request) serve(mayWait bool) (done bool) {
	r.d.pending.Add(1)
	defer r.d.pending.Add(-1)
	done, written := true, 0
	var err error
	switch r.kind {
	case typeIn:
		written = size(r.in)
		done, err = r.read(written, mayWait)
	case typeOut:
		done, err = r.write(mayWait)
	case typeFlush:
		done, err = r.flush(mayWait)
	case typeDiscard, typeWriteZeroes:
		if done = mayWait; done {
			err = r.serveRanges()
		}
	case typeGetID:
		var id [serialSize]byte
		copy(id[:], r.d.opts.Serial)
		for _, b := range r.in {
			written += copy(b, id[written:])
		}
	default:
		err = errUnsupported
	}
	if done {
		r.answer(written, err)
	}
	return done
}

func (r *request) read(n int, mayWait bool) (done bool, err error) {
	off, ok := r.d.extent(r.sector, n)
	switch {
	case !ok || n > maxData:
		return true, errRefused
	case mayWait:
		return true, r.d.disk.ReadAtv(r.in, off)
	}
	return r.d.disk.TryRead(r.in, off)
}

func (r *request) write(mayWait bool) (done bool, err error) {
	n := size(r.out)
	off, ok := r.d.extent(r.sector, n)
	switch {
	case !ok || n > maxData || r.d.opts.ReadOnly:
		return true, errRefused
	case mayWait:
		if err := r.d.disk.WriteAtv(r.out, off); err != nil {
			return true, err
		}
		return true, r.d.written()
	case r.d.writeThrough():
		return false, nil
	}
	return r.d.disk.TryWrite(r.out, off)
}

func (r *request) flush(mayWait bool) (done bool, err error) {
	if mayWait {
		return true, r.d.disk.Flush()
	}
	return r.d.disk.TryFlush()
}

// extent returns where n bytes from a sector on are on the disk, in bytes, and
// whether they are there.
func (d *Device) extent(sector uint64, n int) (off int64, ok bool) {
	if n%sectorSize != 0 || sector > d.sectors || uint64(n)/sectorSize > d.sectors-sector {
		return 0, false
	}
	return int64(sector * sectorSize), true
}

func size(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	return n
}
