package kvm

import "sort"

// handler is something that guest code reads and writes at addresses or ports.
// Its methods are called by any vCPU, several at a time, with offsets and
// lengths that the guest chose.
type handler interface {
	Read(off uint64, p []byte)
	Write(off uint64, p []byte)
}

// bus finds the handler of an address. It does not change once vCPUs run.
type bus struct{ windows []window } // sorted, not overlapping

type window struct {
	base, size uint64
	handler    handler
}

func (b *bus) add(base, size uint64, h handler) {
	i := sort.Search(len(b.windows), func(i int) bool { return b.windows[i].base > base })
	b.windows = append(b.windows, window{})
	copy(b.windows[i+1:], b.windows[i:])
	b.windows[i] = window{base, size, h}
}

// find returns the window that [addr, addr+n) begins in, or nil. What reaches
// past its end is the handler's matter: it knows its size.
func (b *bus) find(addr uint64) *window {
	i := sort.Search(len(b.windows), func(i int) bool { return b.windows[i].base > addr })
	if i == 0 || addr-b.windows[i-1].base >= b.windows[i-1].size {
		return nil
	}
	return &b.windows[i-1]
}

// read fills p as a device would. Where there is none, a bus floats high.
func (b *bus) read(addr uint64, p []byte) {
	if w := b.find(addr); w != nil {
		w.handler.Read(addr-w.base, p)
		return
	}
	for i := range p {
		p[i] = 0xFF
	}
}

// write hands p to the device. Where there is none, it is lost.
func (b *bus) write(addr uint64, p []byte) {
	if w := b.find(addr); w != nil {
		w.handler.Write(addr-w.base, p)
	}
}
