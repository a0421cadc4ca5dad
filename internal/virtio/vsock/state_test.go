package vsock

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtiotest"
)

func TestState(t *testing.T) {
	newDevice := func(t *testing.T) virtio.Device { return newDevice(t) }
	virtiotest.StateSuite(t, newDevice, func(t *testing.T, d *virtiotest.Driver, again bool) {
		// A REQUEST to a port where nobody listens is answered.
		rx := d.Queue(queueRx)
		room := rx.Writable(100)
		rx.Offer(rx.Chain(room))
		rx.Kick()
		var raw [headerLen]byte
		request := header{srcCID: guestCID, dstCID: HostCID, srcPort: 1, dstPort: 2, typ: typeStream, op: opRequest}
		request.encode(&raw)
		d.Queue(queueTx).Do(raw[:], 0)
		rx.WaitUsed()
		if got := parseHeader((*[headerLen]byte)(rx.Bytes(room.Addr, headerLen))); got.op != opRST || got.dstPort != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

// successor is a device with dev's state.
func successor(t *testing.T, dev *Device) *Device {
	t.Helper()
	state, err := dev.SaveState()
	if err != nil {
		t.Fatal(err)
	}
	next := New(guestCID+1, discard)
	if err := next.LoadState(state); err != nil {
		t.Fatal(err)
	}
	return next
}

// offerEvent gives the device room for an event.
func offerEvent(d *virtiotest.Driver, n int) virtiotest.Buf {
	event := d.Queue(queueEvent)
	room := event.Writable(n)
	copy(event.Bytes(room.Addr, n), "\xff\xff\xff\xff\xff\xff\xff\xff")
	event.Offer(event.Chain(room))
	return room
}

// TestDriverIsToldToReset: a guest that goes on elsewhere hears that its
// connections are gone, once, whenever it has room for that.
func TestDriverIsToldToReset(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, moves int
	}{{"room before", 2, 1}, {"room after", 0, 1}, {"moved twice", 0, 2}} {
		t.Run(c.name, func(t *testing.T) {
			dev := newDevice(t)
			d := virtiotest.Start(t, dev, virtiotest.Options{Features: ^uint64(0)})
			event := d.Queue(queueEvent)
			var room virtiotest.Buf
			for i := range c.before {
				if b := offerEvent(d, 8); i == 0 {
					room = b
				}
			}
			event.Kick()
			if e, ok := event.Used(); ok {
				t.Fatalf("an event without a cause: %+v", e)
			}
			for range c.moves {
				d.Pause()
				dev = successor(t, dev)
				d.Resume(dev)
			}
			if c.before == 0 {
				if e, ok := event.Used(); ok {
					t.Fatalf("an event without room: %+v", e)
				}
				room = offerEvent(d, 8)
				event.Kick()
			}
			if e := event.WaitUsed(); e.Len != eventLen {
				t.Errorf("the event has %d bytes", e.Len)
			}
			if got := event.Bytes(room.Addr, 8); binary.LittleEndian.Uint64(got) != 0xffffffff<<32 {
				t.Errorf("the event is %x", got)
			}
			offerEvent(d, 8)
			event.Kick()
			if e, ok := event.Used(); ok {
				t.Errorf("a second event: %+v", e)
			}
			var cid [8]byte
			if dev.ReadConfig(0, cid[:]); binary.LittleEndian.Uint64(cid[:]) != guestCID {
				t.Errorf("the context ID is %x", cid)
			}
			d.Pause() // a pause is no move
			d.Resume(dev)
			if e, ok := event.Used(); ok {
				t.Errorf("an event after a pause: %+v", e)
			}
		})
	}
}

func TestNoDriverIsToldNothing(t *testing.T) {
	d := virtiotest.Start(t, successor(t, newDevice(t)), virtiotest.Options{})
	offerEvent(d, 8)
	d.Queue(queueEvent).Kick()
	if e, ok := d.Queue(queueEvent).Used(); ok {
		t.Errorf("a driver that begins got an event: %+v", e)
	}
}

func TestBadEventBufferBreaksTheDevice(t *testing.T) {
	d := virtiotest.Start(t, newDevice(t), virtiotest.Options{})
	d.Pause()
	dev := successor(t, d.Dev.(*Device))
	d.Resume(dev)
	offerEvent(d, eventLen-1)
	d.Queue(queueEvent).Kick()
	d.Queue(queueEvent).WaitBroken()
	if _, err := dev.Dial(t.Context(), 1); err == nil {
		t.Error("the device works on")
	}
	if next := successor(t, dev); !next.broken || next.tellReset {
		t.Error("the device's successor does not know that the driver broke the rings")
	}
}

// TestPortsAreNotReused: a connection that the guest has yet to forget must not be
// mistaken for a new one.
func TestPortsAreNotReused(t *testing.T) {
	dev := newDevice(t)
	g := boot(t, dev, linux)
	for range 3 {
		go dev.Dial(t.Context(), 5)
		g.expect(opRequest)
	}
	g.halt()
	g.drv.Pause()
	next := successor(t, dev)
	if port := next.freePort(5); port != firstEphemeral+4 {
		t.Errorf("the next port is %d", port)
	}
	g.drv.Resume(dev)
}

// TestStreamOutlastsPauses: in one process connections go on after a pause, and
// neither side misses a byte.
func TestStreamOutlastsPauses(t *testing.T) {
	dev := newDevice(t)
	g := boot(t, dev, linux)
	c := g.pair(dev, 1<<20)
	out, in := pattern(700<<10, 1), pattern(200<<10, 2) // within the credit of both
	var ends sync.WaitGroup
	ends.Go(func() {
		if n, err := c.Write(out); n != len(out) || err != nil {
			t.Errorf("wrote %d bytes: %v", n, err)
		}
	})
	ends.Go(func() {
		got := make([]byte, len(in))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, in) {
			t.Errorf("what the host received is not what the guest sent: %v", err)
		}
	})
	ends.Go(func() {
		for part := range slices.Chunk(in, 1000) {
			g.put(on(opRW, header{bufAlloc: 1 << 20}), part)
			g.drv.Pause() // before the kick, which therefore comes to a paused device
			g.kick()
			g.drv.Resume(dev)
		}
	})
	var got []byte
	for len(got) < len(out) {
		if p := g.recv(); p.op == opRW {
			got = append(got, p.data...)
		}
	}
	ends.Wait()
	if !bytes.Equal(got, out) {
		t.Error("what the guest received is not what the host sent")
	}
	if c.Close(); g.expectLate(opShutdown).flags != shutBoth {
		t.Error("no shutdown")
	}
}

// expectLate skips credit updates.
func (g *guest) expectLate(op uint16) packet {
	g.t.Helper()
	for {
		if p := g.recv(); p.op != opCreditUpdate {
			if p.op != op {
				g.t.Fatalf("got operation %d, want %d", p.op, op)
			}
			return p
		}
	}
}
