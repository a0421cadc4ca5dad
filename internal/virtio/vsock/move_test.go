package vsock

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtiotest"
)

// events is the event queue of a guest like Linux: its buffers are all offered, and each
// one again when what it says has been done.
type events struct {
	t    *testing.T
	ring *virtiotest.Ring
}

// offerEvents offers n buffers for events.
func (g *guest) offerEvents(t *testing.T, n int) *events {
	for range n {
		offerEvent(g.drv, eventLen)
	}
	e := &events{t, g.drv.Queue(queueEvent)}
	e.ring.Kick()
	return e
}

// told waits for the event.
func (e *events) told() virtiotest.UsedElem {
	e.t.Helper()
	return e.ring.WaitUsed()
}

// done gives the event's buffer back.
func (e *events) done(u virtiotest.UsedElem) {
	e.ring.Offer(uint16(u.ID))
	e.ring.Kick()
}

// wanted reports whether the device wants to hear of the next buffer (virtio 1.2,
// 2.7.10).
func (e *events) wanted() bool {
	event := binary.LittleEndian.Uint16(e.ring.Bytes(e.ring.UsedAddr+4+8*uint64(e.ring.Size), 2))
	return event == binary.LittleEndian.Uint16(e.ring.Bytes(e.ring.AvailAddr+2, 2))
}

// move makes the guest go on with another device that has the state of dev.
func (g *guest) move(dev *Device, opts ...Option) *Device {
	g.t.Helper()
	g.drv.Pause()
	next := successor(g.t.(*testing.T), dev)
	for _, o := range opts {
		o(&next.limits)
	}
	g.drv.Resume(next)
	return next
}

type dialed struct {
	net.Conn
	error
}

// dialing dials without waiting for the answer.
func dialing(ctx context.Context, dev *Device, port uint32) <-chan dialed {
	result := make(chan dialed, 1)
	go func() {
		c, err := dev.Dial(ctx, port)
		result <- dialed{c, err}
	}()
	return result
}

// respond lets a dial succeed.
func (g *guest) respond(request packet) {
	g.send(header{op: opResponse, srcPort: request.dstPort, dstPort: request.srcPort, bufAlloc: 1 << 20}, nil)
}

// answer lets a dial succeed whose REQUEST comes now.
func (g *guest) answer(result <-chan dialed) net.Conn {
	g.t.Helper()
	g.respond(g.expect(opRequest))
	return g.connected(result)
}

func (g *guest) connected(result <-chan dialed) net.Conn {
	g.t.Helper()
	d := <-result
	if d.error != nil {
		g.t.Fatal(d.error)
	}
	return d.Conn
}

// TestDialWaitsForTheReset: whatever a driver looks at first, rings or events, it gets
// no REQUEST before it has reset its connections.
func TestDialWaitsForTheReset(t *testing.T) {
	dev := newDevice(t)
	g := boot(t, dev, linux)
	g.pair(dev, 1<<20)
	e := g.offerEvents(t, 8)
	for range 3 { // a copy of a copy of a copy
		dev = g.move(dev)
		first := dialing(t.Context(), dev, 5)
		told := e.told()
		second := dialing(t.Context(), dev, 5)
		g.silence()
		g.drv.Pause() // no sign of the driver's
		g.drv.Resume(dev)
		e.ring.Kick() // nor is a kick
		g.silence()
		if !e.wanted() {
			t.Error("the driver would not kick")
		}
		e.done(told)
		g.respond(g.expect(opRequest))
		g.respond(g.expect(opRequest))
		a, b := g.connected(first), g.connected(second)
		if a.LocalAddr() == b.LocalAddr() {
			t.Error("two connections have the same port")
		}
		g.answer(dialing(t.Context(), dev, 5)) // and now at once
	}
}

// TestSignWhilePaused: the buffer comes back while nobody can be kicked.
func TestSignWhilePaused(t *testing.T) {
	dev := newDevice(t)
	g := boot(t, dev, linux)
	e := g.offerEvents(t, 1)
	dev = g.move(dev)
	result := dialing(t.Context(), dev, 5)
	told := e.told()
	g.silence()
	g.drv.Pause()
	e.ring.Offer(uint16(told.ID))
	g.drv.Resume(dev)
	g.answer(result)
}

// TestHeldDialEnds when there is nothing to wait for any more.
func TestHeldDialEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(g *guest, cancel func())
		want error
	}{
		{"given up", func(_ *guest, cancel func()) { cancel() }, context.Canceled},
		{"driver reset", func(g *guest, _ func()) { g.halt(); g.drv.Stop() }, ErrStopped},
		{"ring broken", func(g *guest, _ func()) {
			offerEvent(g.drv, eventLen-1)
			g.drv.Queue(queueEvent).Kick()
		}, ErrStopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := newDevice(t)
			g := boot(t, dev, linux)
			dev = g.move(dev)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			result := dialing(ctx, dev, 5)
			g.silence()
			c.do(g, cancel)
			if d := <-result; !errors.Is(d.error, c.want) {
				t.Errorf("dial: %v", d.error)
			}
			if n := dev.Counters(); n.Connections != 0 {
				t.Errorf("connections: %+v", n)
			}
		})
	}
}

// TestSilentDriver: a driver that gives no sign is waited for once. If it was only slow, and
// resets the new connection with the old ones, it is asked about that, for it says nothing
// by itself and nobody else may have anything to say.
func TestSilentDriver(t *testing.T) {
	for _, room := range []int{0, 1} {
		dev := newDevice(t)
		g := boot(t, dev, linux)
		e := g.offerEvents(t, room)
		const patience = 50 * time.Millisecond
		begin := time.Now()
		dev = g.move(dev, func(l *limits) { l.patience = patience })
		c := g.answer(dialing(t.Context(), dev, 5))
		if waited := time.Since(begin); waited < patience {
			t.Errorf("the dial waited for %v", waited)
		}
		dev.limits.patience = time.Hour
		g.answer(dialing(t.Context(), dev, 5))
		if room == 0 {
			e = g.offerEvents(t, 1)
		}
		e.done(e.told())
		local := c.LocalAddr().(Addr)
		for p := g.recv(); p.op != opCreditRequest || p.srcPort != local.Port; p = g.recv() {
			if p.op != opCreditRequest && p.op != opRST {
				t.Fatalf("got operation %d", p.op)
			}
		}
		g.send(header{op: opRST, srcPort: 5, dstPort: local.Port}, nil)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
	}
}
