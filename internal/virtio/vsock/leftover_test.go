package vsock

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtiotest"
)

// TestOldConnections: whatever the guest sends on a connection that it had is answered
// with an RST, and nobody gets it.
func TestOldConnections(t *testing.T) {
	dev := newDevice(t)
	g := boot(t, dev, linux)
	g.pair(dev, 1<<20)
	e := g.offerEvents(t, 1)
	half := dialing(t.Context(), dev, 5)
	request := g.expect(opRequest)
	dev = g.move(dev)
	l, err := dev.Listen(2000) // as before
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, op := range []uint16{opRW, opShutdown, opCreditUpdate, opCreditRequest, opResponse} {
		g.send(on(op, header{flags: shutBoth}), []byte("data"))
		if p := g.expect(opRST); p.dstPort != 1000 || p.srcPort != 2000 {
			t.Errorf("operation %d: %+v", op, p.header)
		}
	}
	g.send(on(opRST, header{}), nil)
	g.respond(request) // the host asked before, in another life
	if p := g.expect(opRST); p.dstPort != 5 || p.srcPort != request.srcPort {
		t.Errorf("a connection in the making: %+v", p.header)
	}
	g.silence()
	e.done(e.told())
	c := g.answer(dialing(t.Context(), dev, 5))
	if c.LocalAddr().(Addr).Port == request.srcPort {
		t.Error("the port of a connection in the making is used again")
	}
	g.send(header{op: opRequest, srcPort: 1000, dstPort: 2000, bufAlloc: 1 << 20}, nil)
	g.expect(opResponse)
	accept(t, l)
	select {
	case d := <-half: // its device is no more
		t.Errorf("the old dial returned: %v", d.error)
	default:
	}
}

// TestPendingPackets: what waited for room in the guest when the state was saved does not
// come out of the next device.
func TestPendingPackets(t *testing.T) {
	dev := newDevice(t)
	g := boot(t, dev, linux)
	c := g.pair(dev, 1<<20)
	if _, err := dev.Listen(7); err != nil {
		t.Fatal(err)
	}
	g.starve()
	c.Close()                                                                // SHUTDOWN
	go dev.Dial(t.Context(), 5)                                              // REQUEST
	g.send(header{op: opRequest, srcPort: 9, dstPort: 7, bufAlloc: 1}, nil)  // RESPONSE
	g.send(header{op: opRequest, srcPort: 9, dstPort: 99, bufAlloc: 1}, nil) // RST
	for deadline := time.Now().Add(virtiotest.WaitTimeout); dev.waiting() < 4; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d packets wait", dev.waiting())
		}
	}
	g.move(dev)
	g.feed()
	g.silence()
	g.send(header{op: opRequest, srcPort: 10, dstPort: 99, bufAlloc: 1}, nil)
	if p := g.expect(opRST); p.dstPort != 10 {
		t.Errorf("got %+v", p.header)
	}
}

// waiting is how many packets wait for room in the guest.
func (d *Device) waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.control)
}

// TestConnectionsBeforeTheSign: a connection that the guest made before its driver did
// the reset may be gone there; the guest is asked.
func TestConnectionsBeforeTheSign(t *testing.T) {
	dev := newDevice(t)
	g := boot(t, dev, linux)
	e := g.offerEvents(t, 2)
	dev = g.move(dev)
	l, err := dev.Listen(2000)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var conns []*Conn
	for port := range uint32(2) {
		g.send(header{op: opRequest, srcPort: port, dstPort: 2000, bufAlloc: 1 << 20}, nil)
		g.expect(opResponse)
		conns = append(conns, accept(t, l))
	}
	e.done(e.told())
	for range conns {
		h := header{op: opCreditUpdate, dstPort: 2000, bufAlloc: 1 << 20}
		if h.srcPort = g.expect(opCreditRequest).dstPort; h.srcPort == 0 {
			h.op = opRST
		}
		g.send(h, nil)
	}
	if _, err := conns[0].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the one that is gone: %v", err)
	}
	g.send(header{op: opRW, srcPort: 1, dstPort: 2000, bufAlloc: 1 << 20}, []byte("x"))
	if _, err := io.ReadFull(conns[1], make([]byte, 1)); err != nil {
		t.Errorf("the one that is there: %v", err)
	}
}
