package balloon

import (
	"encoding/binary"
)

const (
	// pageSize is the size of the pages that the balloon counts in, in bytes,
	// whatever the guest's own are (5.5.6).
	pageSize = 4096
	// maxPages is how many pages one request can put into the balloon. Linux
	// names up to 256; what a hostile driver names beyond stays in memory.
	maxPages = 1024
)

// inflate takes away the pages that a request names: an array of page numbers.
// What is not guest memory is passed over.
func (d *Device) inflate(q *served) {
	var numbers [4 * maxPages]byte
	n := q.chain.Read(numbers[:], 0)
	for b := numbers[:n]; len(b) >= 4; b = b[4:] {
		page, err := q.Memory().Slice(uint64(binary.LittleEndian.Uint32(b))*pageSize, pageSize)
		if err != nil {
			d.log.Warn("the guest put a page that it does not have into the balloon", "err", err)
			continue
		}
		d.discard(q, page)
	}
}

// report takes away blocks of free pages: a request's device-writable buffers.
func (d *Device) report(q *served) {
	for _, block := range q.chain.Writable {
		d.discard(q, block)
	}
}

func (d *Device) discard(q *served, b []byte) {
	if err := q.Memory().Discard(b); err != nil {
		d.log.Warn("memory that the guest gave back stays in use", "err", err)
	}
}
