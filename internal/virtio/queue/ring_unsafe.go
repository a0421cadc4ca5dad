package queue

import "unsafe"

// ring is an available or used ring in guest memory. Its fields are naturally
// aligned (New checked the base), so one machine access reads or writes each,
// and they are little-endian, as is every machine that Holt runs on.
type ring []byte

//go:noinline
func (r ring) load16(off int) uint16 {
	_ = r[off+1]
	return *(*uint16)(unsafe.Pointer(&r[off]))
}

//go:noinline
func (r ring) store16(off int, v uint16) {
	_ = r[off+1]
	*(*uint16)(unsafe.Pointer(&r[off])) = v
}

func (r ring) store32(off int, v uint32) {
	_ = r[off+3]
	*(*uint32)(unsafe.Pointer(&r[off])) = v
}

// descriptor is struct virtq_desc (2.7.5), copied out of guest memory.
type descriptor struct {
	addr  uint64
	len   uint32
	flags uint16
	next  uint16
}

// loadDesc copies entry i, so that what is checked is what is used.
//
//go:noinline
func loadDesc(table []byte, i int) descriptor {
	return *(*descriptor)(unsafe.Pointer(&table[16*i : 16*i+16][0]))
}

// barrier is a full memory fence: no load or store moves across it.
func barrier()
