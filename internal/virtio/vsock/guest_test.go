package vsock

import (
	"bytes"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtiotest"
)

const guestCID = 77

var discard = slog.New(slog.DiscardHandler)

// packet is one packet, as the guest sees it.
type packet struct {
	header
	data []byte
}

// layout is how the stub cuts its receive buffers into descriptors.
type layout []int

var linux = layout{headerLen, 4096} // as Linux 6.1 does

// guest is a stub of the guest's driver: it keeps the rx ring filled, and sends
// whatever a test tells it to.
type guest struct {
	t   testing.TB
	drv *virtiotest.Driver
	rx  *virtiotest.Ring
	in  chan packet // received packets, in order

	mu     sync.Mutex // guards the rings
	tx     *virtiotest.Ring
	txAddr uint64
	txSlot int
	rxBufs map[uint32][]virtiotest.Buf // by head
	held   []uint16                    // heads that are not offered
	hold   bool

	stop chan struct{}
	done chan struct{}
}

const (
	txSlots   = 32
	txSlotLen = headerLen + 64<<10
)

func newDevice(t testing.TB, opts ...Option) *Device {
	return New(guestCID, slog.New(slog.NewTextHandler(t.Output(), nil)), opts...)
}

// boot starts dev with a stub guest that offers receive buffers of the layout.
func boot(t testing.TB, dev *Device, l layout) *guest {
	t.Helper()
	return reboot(virtiotest.Start(t, dev, virtiotest.Options{Features: ^uint64(0)}), t, l)
}

// reboot attaches a stub to a driver whose queues have just started.
func reboot(drv *virtiotest.Driver, t testing.TB, l layout) *guest {
	g := &guest{
		t: t, drv: drv, rx: drv.Queue(queueRx), tx: drv.Queue(queueTx),
		in: make(chan packet, 64), rxBufs: make(map[uint32][]virtiotest.Buf),
		stop: make(chan struct{}), done: make(chan struct{}),
		txAddr: drv.Alloc(txSlots * txSlotLen),
	}
	for range int(g.rx.Size) / len(l) / 2 {
		var bufs []virtiotest.Buf
		for _, n := range l {
			bufs = append(bufs, g.rx.Writable(n))
		}
		head := g.rx.Chain(bufs...)
		g.rxBufs[uint32(head)] = bufs
		g.rx.Offer(head)
	}
	g.rx.Kick()
	go g.pump()
	t.Cleanup(g.halt)
	return g
}

// halt ends the stub; the device keeps running.
func (g *guest) halt() {
	select {
	case <-g.stop:
	default:
		close(g.stop)
	}
	<-g.done
}

// pump takes packets out of the rx ring and offers their buffers again.
func (g *guest) pump() {
	defer close(g.done)
	kick := false
	for {
		g.mu.Lock()
		e, ok := g.rx.Used()
		if !ok {
			if kick {
				g.rx.Kick()
			}
			kick = false
			g.mu.Unlock()
			select {
			case <-g.stop:
				return
			case <-time.After(20 * time.Microsecond):
			}
			continue
		}
		var raw []byte
		for _, b := range g.rxBufs[e.ID] {
			raw = append(raw, g.rx.Bytes(b.Addr, b.Len)...)
		}
		if len(raw) < int(e.Len) || e.Len < headerLen {
			g.t.Errorf("used entry %+v for a buffer of %d bytes", e, len(raw))
			e.Len = headerLen
		}
		p := packet{parseHeader((*[headerLen]byte)(raw)), raw[headerLen:e.Len]}
		if int(p.length) != len(p.data) {
			g.t.Errorf("header says %d bytes, the packet has %d", p.length, len(p.data))
		}
		if g.hold {
			g.held = append(g.held, uint16(e.ID))
		} else {
			g.rx.Offer(uint16(e.ID))
			kick = true
		}
		g.mu.Unlock()
		select {
		case g.in <- p:
		case <-g.stop:
			return
		}
	}
}

// starve stops offering receive buffers and waits until the device has none;
// every packet until then is thrown away.
func (g *guest) starve() {
	g.t.Helper()
	g.mu.Lock()
	g.hold = true
	n := len(g.rxBufs)
	g.mu.Unlock()
	for i := range n { // each is answered with an RST
		g.send(header{op: opRW, srcPort: uint32(i), dstPort: 1}, nil)
	}
	for range n {
		g.recv()
	}
}

// feed offers the buffers that starve kept.
func (g *guest) feed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = false
	for _, h := range g.held {
		g.rx.Offer(h)
	}
	g.held = nil
	g.rx.Kick()
}

// send fills in the addresses that h leaves zero and sends it.
func (g *guest) send(h header, data []byte) {
	g.t.Helper()
	g.put(h, data)
	g.kick()
}

func (g *guest) kick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tx.Kick()
}

// put is send without the kick.
func (g *guest) put(h header, data []byte) {
	g.t.Helper()
	if h.srcCID == 0 {
		h.srcCID = guestCID
	}
	if h.dstCID == 0 {
		h.dstCID = HostCID
	}
	if h.typ == 0 {
		h.typ = typeStream
	}
	if h.length == 0 {
		h.length = uint32(len(data))
	}
	var raw [headerLen]byte
	h.encode(&raw)
	g.putRaw(append(raw[:], data...), headerLen)
}

// putRaw offers a packet as two descriptors, cut at the given place.
func (g *guest) putRaw(raw []byte, cut int) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	deadline := time.Now().Add(virtiotest.WaitTimeout)
	for g.txSlot >= txSlots { // all slots were used once: one must come back
		if _, ok := g.tx.Used(); ok {
			g.txSlot--
			break
		}
		if time.Now().After(deadline) {
			g.t.Error("the device takes no packets")
			return
		}
		g.mu.Unlock()
		time.Sleep(20 * time.Microsecond)
		g.mu.Lock()
	}
	// Used entries come back in order, so slots are used round and round.
	slot := int(g.nextTx()) % txSlots
	g.txSlot++
	addr := g.txAddr + uint64(slot*txSlotLen)
	copy(g.tx.Bytes(addr, len(raw)), raw)
	bufs := []virtiotest.Buf{{Addr: addr, Len: cut}}
	if cut < len(raw) {
		bufs = append(bufs, virtiotest.Buf{Addr: addr + uint64(cut), Len: len(raw) - cut})
	}
	g.tx.Offer(g.tx.Chain(bufs...))
}

// nextTx is the position of the next entry in the tx ring.
func (g *guest) nextTx() uint16 {
	b := g.tx.Bytes(g.tx.AvailAddr+2, 2)
	return uint16(b[0]) | uint16(b[1])<<8
}

// txLeft is how many packets the device has not taken yet.
func (g *guest) txLeft() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.tx.Bytes(g.tx.UsedAddr+2, 2)
	return int(g.nextTx() - (uint16(b[0]) | uint16(b[1])<<8))
}

// recv is the next packet; none in time fails the test.
func (g *guest) recv() packet {
	g.t.Helper()
	select {
	case p := <-g.in:
		return p
	case <-time.After(virtiotest.WaitTimeout):
		g.t.Fatal("no packet from the device")
		return packet{}
	}
}

// expect is recv that insists on an operation.
func (g *guest) expect(op uint16) packet {
	g.t.Helper()
	p := g.recv()
	if p.op != op {
		g.t.Fatalf("got operation %d, want %d: %+v", p.op, op, p.header)
	}
	return p
}

// silence fails the test if a packet comes.
func (g *guest) silence() {
	g.t.Helper()
	select {
	case p := <-g.in:
		g.t.Fatalf("unexpected packet %+v", p.header)
	case <-time.After(20 * time.Millisecond):
	}
}

// pair is a connection from guest port 1000 to host port 2000, which got
// alloc bytes of credit for its host side.
func (g *guest) pair(dev *Device, alloc uint32) *Conn {
	g.t.Helper()
	l, err := dev.Listen(2000)
	if err != nil {
		g.t.Fatal(err)
	}
	defer l.Close()
	g.send(header{op: opRequest, srcPort: 1000, dstPort: 2000, bufAlloc: alloc}, nil)
	g.expect(opResponse)
	return accept(g.t, l)
}

// on is a header of the connection that pair makes.
func on(op uint16, h header) header {
	h.op, h.srcPort, h.dstPort = op, 1000, 2000
	return h
}

func accept(t testing.TB, l net.Listener) *Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*Conn)
}

// pattern is n bytes that differ between positions and seeds.
func pattern(n int, seed byte) []byte {
	b := bytes.Repeat([]byte{0}, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}
