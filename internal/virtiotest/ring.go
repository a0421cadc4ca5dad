package virtiotest

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// Descriptor flags (virtio 1.2, 2.7.5).
const (
	DescNext     = 1
	DescWrite    = 2
	DescIndirect = 4
)

var le = binary.LittleEndian

// Ring is the driver's side of one virtqueue. Its low-level methods write the
// rings raw, so that tests can build what no honest driver would.
type Ring struct {
	Mem  *guestmem.Memory
	Size uint16

	DescAddr, AvailAddr, UsedAddr uint64 // guest addresses of the three areas

	t        testing.TB
	alloc    func(int) uint64
	kick     func()
	nextDesc uint16
	availIdx uint16
	usedIdx  uint16
	irq      chan struct{}
	broken   chan error
}

// RingBytes is how much memory NewRing needs.
func RingBytes(size uint16) int { return 26*int(size) + 64 }

// NewRing lays out an empty virtqueue at base, which must be 16-byte aligned.
func NewRing(t testing.TB, mem *guestmem.Memory, base uint64, size uint16) *Ring {
	t.Helper()
	n := uint64(size)
	r := &Ring{
		t: t, Mem: mem, Size: size,
		DescAddr: base, AvailAddr: base + 16*n, UsedAddr: (base + 16*n + 6 + 2*n + 3) &^ 3,
		irq: make(chan struct{}, 1), broken: make(chan error, 1),
	}
	clear(r.Bytes(base, RingBytes(size)))
	return r
}

// Config is what the driver tells the device about this ring.
func (r *Ring) Config(eventIdx bool) queue.Config {
	return queue.Config{Size: r.Size, Desc: r.DescAddr, Avail: r.AvailAddr, Used: r.UsedAddr, EventIdx: eventIdx, Indirect: true}
}

// Interrupt implements queue.Interrupter.
func (r *Ring) Interrupt() {
	select {
	case r.irq <- struct{}{}:
	default:
	}
}

// Broken implements queue.Interrupter.
func (r *Ring) Broken(err error) { r.broken <- err }

// Bytes returns guest memory; an address outside fails the test.
func (r *Ring) Bytes(addr uint64, n int) []byte {
	r.t.Helper()
	b, err := r.Mem.Slice(addr, uint64(n))
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// SetDesc writes entry i of the descriptor table.
func (r *Ring) SetDesc(i uint16, addr uint64, length uint32, flags, next uint16) {
	r.t.Helper()
	PutDesc(r.Bytes(r.DescAddr+16*uint64(i), 16), addr, length, flags, next)
}

// PutDesc encodes a descriptor into the first 16 bytes of b.
func PutDesc(b []byte, addr uint64, length uint32, flags, next uint16) {
	le.PutUint64(b, addr)
	le.PutUint32(b[8:], length)
	le.PutUint16(b[12:], flags)
	le.PutUint16(b[14:], next)
}

// SetAvailIdx writes avail.idx.
func (r *Ring) SetAvailIdx(idx uint16) {
	r.t.Helper()
	r.availIdx = idx
	le.PutUint16(r.Bytes(r.AvailAddr+2, 2), idx)
}

// SetUsedEvent asks for an interrupt when the used index passes idx.
func (r *Ring) SetUsedEvent(idx uint16) {
	r.t.Helper()
	le.PutUint16(r.Bytes(r.AvailAddr+4+2*uint64(r.Size), 2), idx)
}

// Offer makes the chain that starts at head available, without a kick.
func (r *Ring) Offer(head uint16) {
	r.t.Helper()
	le.PutUint16(r.Bytes(r.AvailAddr+4+2*uint64(r.availIdx%r.Size), 2), head)
	r.SetAvailIdx(r.availIdx + 1)
}

// Kick notifies the device.
func (r *Ring) Kick() { r.kick() }

// Buf is one buffer of a chain.
type Buf struct {
	Addr  uint64
	Len   int
	Write bool // device-writable
}

// Readable puts data into guest memory as a device-readable buffer.
func (r *Ring) Readable(data []byte) Buf {
	r.t.Helper()
	b := Buf{Addr: r.alloc(len(data)), Len: len(data)}
	copy(r.Bytes(b.Addr, b.Len), data)
	return b
}

// Writable makes room for n bytes of answer.
func (r *Ring) Writable(n int) Buf {
	r.t.Helper()
	return Buf{Addr: r.alloc(n), Len: n, Write: true}
}

// Chain writes bufs into the next free descriptors and returns the head. The
// table is used round and round: the caller keeps within its size.
func (r *Ring) Chain(bufs ...Buf) (head uint16) {
	r.t.Helper()
	head = r.nextDesc % r.Size
	for i, b := range bufs {
		at := r.nextDesc % r.Size
		r.nextDesc++
		flags, next := uint16(0), uint16(0)
		if b.Write {
			flags |= DescWrite
		}
		if i < len(bufs)-1 {
			flags |= DescNext
			next = r.nextDesc % r.Size
		}
		r.SetDesc(at, b.Addr, uint32(b.Len), flags, next)
	}
	return head
}

// Indirect is Chain through an indirect table: it takes one descriptor.
func (r *Ring) Indirect(bufs ...Buf) (head uint16) {
	r.t.Helper()
	table := Buf{Addr: r.alloc(16 * len(bufs)), Len: 16 * len(bufs)}
	raw := r.Bytes(table.Addr, table.Len)
	for i, b := range bufs {
		flags := uint16(0)
		if b.Write {
			flags |= DescWrite
		}
		if i < len(bufs)-1 {
			flags |= DescNext
		}
		PutDesc(raw[16*i:], b.Addr, uint32(b.Len), flags, uint16(i+1))
	}
	head = r.Chain(table)
	r.SetDesc(head, table.Addr, uint32(table.Len), DescIndirect, 0)
	return head
}

// UsedElem is an entry of the used ring.
type UsedElem struct{ ID, Len uint32 }

// Used returns the next entry that the device put into the used ring, if any.
func (r *Ring) Used() (UsedElem, bool) {
	r.t.Helper()
	if le.Uint16(r.Bytes(r.UsedAddr+2, 2)) == r.usedIdx {
		return UsedElem{}, false
	}
	e := r.Bytes(r.UsedAddr+4+8*uint64(r.usedIdx%r.Size), 8)
	r.usedIdx++
	r.SetUsedEvent(r.usedIdx)
	return UsedElem{le.Uint32(e), le.Uint32(e[4:])}, true
}

// WaitUsed waits for the next used entry; none in time fails the test.
func (r *Ring) WaitUsed() UsedElem {
	r.t.Helper()
	deadline := time.After(WaitTimeout)
	for {
		if e, ok := r.Used(); ok {
			return e
		}
		select {
		case <-r.irq:
		case <-time.After(time.Millisecond): // interrupts may be suppressed
		case err := <-r.broken:
			r.t.Fatalf("the device declared the queue broken: %v", err)
		case <-deadline:
			r.t.Fatal("the device did not answer")
		}
	}
}

// WaitBroken waits until the device declares the queue broken.
func (r *Ring) WaitBroken() error {
	r.t.Helper()
	select {
	case err := <-r.broken:
		return err
	case <-time.After(WaitTimeout):
		r.t.Fatal("the device did not notice the broken protocol")
		return nil
	}
}

// Interrupted reports whether an interrupt came since the last call.
func (r *Ring) Interrupted() bool {
	select {
	case <-r.irq:
		return true
	default:
		return false
	}
}

// Do sends one request with room for an answer, kicks, waits, and returns the
// bytes that the device says it wrote.
func (r *Ring) Do(request []byte, room int) []byte {
	r.t.Helper()
	var bufs []Buf
	if len(request) > 0 {
		bufs = append(bufs, r.Readable(request))
	}
	var answer Buf
	if room > 0 {
		answer = r.Writable(room)
		bufs = append(bufs, answer)
	}
	head := r.Chain(bufs...)
	r.Offer(head)
	r.Kick()
	e := r.WaitUsed()
	if e.ID != uint32(head) || e.Len > uint32(room) {
		r.t.Fatalf("used entry %+v for head %d with room for %d", e, head, room)
	}
	return r.Bytes(answer.Addr, int(e.Len))
}
