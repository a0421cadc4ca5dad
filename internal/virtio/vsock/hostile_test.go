package vsock

import (
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtio/queue"
	"github.com/holtvm/holt/internal/virtiotest"
)

// Packets for no connection are refused or ignored, and make nothing.
func TestStrayPackets(t *testing.T) {
	for name, c := range map[string]struct {
		h    header
		want bool // an RST
	}{
		"data":             {header{op: opRW}, true},
		"response":         {header{op: opResponse}, true},
		"shutdown":         {header{op: opShutdown, flags: shutBoth}, true},
		"credit request":   {header{op: opCreditRequest}, true},
		"no operation":     {header{op: 0}, true},
		"unknown":          {header{op: 99}, true},
		"reset":            {header{op: opRST}, false},
		"nobody listens":   {header{op: opRequest}, true},
		"forged source":    {header{op: opRequest, dstPort: 1, srcCID: 3}, false},
		"from the host":    {header{op: opRequest, dstPort: 1, srcCID: HostCID}, false},
		"wide source":      {header{op: opRequest, dstPort: 1, srcCID: guestCID | 1<<32}, false},
		"another guest":    {header{op: opRequest, dstPort: 1, dstCID: 78}, true},
		"wide destination": {header{op: opRequest, dstPort: 1, dstCID: HostCID | 1<<40}, true},
		"seqpacket":        {header{op: opRequest, dstPort: 1, typ: 2}, true},
		"unknown type":     {header{op: opRequest, dstPort: 1, typ: 0xffff}, true},
		"credit ahead":     {header{op: opRequest, dstPort: 1, fwdCnt: 1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			if _, err := d.Listen(1); err != nil {
				t.Fatal(err)
			}
			g := boot(t, d, linux)
			c.h.srcPort = 6
			g.send(c.h, nil)
			if c.want {
				p := g.expect(opRST)
				want := header{
					srcCID: max(c.h.dstCID, HostCID), srcPort: c.h.dstPort, dstCID: guestCID, dstPort: 6,
					typ: max(c.h.typ, typeStream), op: opRST, bufAlloc: p.bufAlloc,
				}
				if p.header != want {
					t.Errorf("reset %+v, want %+v", p.header, want)
				}
			}
			g.silence()
			if d.slots != 0 || len(d.conns) != 0 {
				t.Errorf("%d slots, %d connections", d.slots, len(d.conns))
			}
		})
	}
}

// A packet that an open connection cannot get ends it, on both sides.
func TestBreaches(t *testing.T) {
	for name, h := range map[string]header{
		"request again":   on(opRequest, header{}),
		"response":        on(opResponse, header{}),
		"no operation":    on(0, header{}),
		"unknown":         on(8, header{}),
		"length too long": on(opRW, header{length: 5}),
		"length absurd":   on(opRW, header{length: 0xffffffff}),
		"length wraps":    on(opRW, header{length: 0xffffffff - headerLen + 1}),
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			g := boot(t, d, linux)
			c := g.pair(d, 0)
			g.send(h, []byte("data"))
			g.expect(opRST)
			if n, err := c.Read(make([]byte, 10)); n != 0 || !errors.Is(err, ErrProtocol) {
				t.Errorf("Read = %d, %v", n, err)
			}
			g.send(h, []byte("data")) // for nobody now
			g.expect(opRST)
			c.Close()
			if d.slots != 0 {
				t.Errorf("%d slots taken", d.slots)
			}
		})
	}
}

func TestDataAfterShutdown(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	c := g.pair(d, 0)
	g.send(on(opShutdown, header{flags: shutSend | 0xf0}), nil)
	g.send(on(opRW, header{}), []byte("x"))
	g.expect(opRST)
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read = %d, %v", n, err)
	}
}

func TestShortPackets(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	for _, n := range []int{1, headerLen - 1} {
		g.putRaw(make([]byte, n), n)
	}
	g.kick()
	if g.txLeft() != 0 {
		t.Error("short packets were not given back")
	}
	g.silence()
	raw := make([]byte, headerLen)
	(&header{srcCID: guestCID, dstCID: HostCID, typ: typeStream, op: opRequest}).encode((*[headerLen]byte)(raw))
	for cut := 1; cut < headerLen; cut++ { // whole, in two pieces
		g.putRaw(raw, cut)
		g.kick()
		g.expect(opRST)
	}
}

func TestConnectFlood(t *testing.T) {
	const backlog, conns = 5, 12
	d := newDevice(t, WithBacklog(backlog), WithMaxConns(conns), WithLinger(time.Hour))
	l, _ := d.Listen(1)
	g := boot(t, d, linux)
	flood := func(from, n int) (accepted int) {
		for i := range n {
			g.send(header{op: opRequest, srcPort: uint32(from + i), dstPort: 1}, nil)
			if g.recv().op == opResponse {
				accepted++
			}
		}
		return accepted
	}
	if n := flood(0, 50); n != backlog {
		t.Errorf("%d connections in a backlog of %d", n, backlog)
	}
	// Ended connections that nobody accepted make room.
	g.send(header{op: opRST, srcPort: 0, dstPort: 1}, nil)
	if n := flood(100, 3); n != 1 {
		t.Errorf("%d connections where one was dropped", n)
	}
	var open []*Conn
	for range backlog {
		open = append(open, accept(t, l))
	}
	flood(200, 50)
	for range backlog {
		open = append(open, accept(t, l))
	}
	if n := flood(300, 50); n != conns-2*backlog {
		t.Errorf("%d connections above %d of %d", n, 2*backlog, conns)
	}
	if _, err := d.Dial(t.Context(), 1); !errors.Is(err, ErrTooMany) {
		t.Errorf("Dial above the limit: %v", err)
	}
	// A slot is free when both sides are done, not before.
	g.send(header{op: opRST, srcPort: open[0].ports.guest, dstPort: 1}, nil)
	open[1].Close()
	g.expect(opShutdown)
	if n := flood(400, 5); n != 0 {
		t.Errorf("%d connections while all slots are held", n)
	}
	open[0].Close()
	g.send(header{op: opRST, srcPort: open[1].ports.guest, dstPort: 1}, nil)
	if n := flood(500, 5); n != 2 {
		t.Errorf("%d connections where two ended", n)
	}
}

// The guest sends what must be answered and takes no answers: the device stops
// taking packets, loses no answer, and goes on when there is room.
func TestRepliesPushBack(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	c := g.pair(d, 0)
	g.starve()
	const n = maxReplies + txSlots - 2
	for i := range n {
		g.send(header{op: opRW, srcPort: uint32(i), dstPort: 9}, nil)
	}
	if left := g.txLeft(); left != n-maxReplies {
		t.Errorf("%d packets left in the ring, want %d", left, n-maxReplies)
	}
	d.mu.Lock()
	if len(d.control) != maxReplies {
		t.Errorf("%d replies wait, the limit is %d", len(d.control), maxReplies)
	}
	d.mu.Unlock()
	c.Close() // the host's own packets still find a place
	g.feed()
	shutdowns := 0
	for i := range n + 1 {
		p := g.recv()
		if p.op == opShutdown {
			shutdowns++
		} else if p.op != opRST || p.dstPort != uint32(i-shutdowns) {
			t.Fatalf("reply %d is %+v", i, p.header)
		}
	}
	if shutdowns != 1 {
		t.Errorf("%d shutdowns", shutdowns)
	}
	if g.txLeft() != 0 {
		t.Error("packets are left in the ring")
	}
}

// refill offers the same packets again whenever the device gives some back.
type refill struct {
	*virtiotest.Ring
	heads []uint16
	left  int
}

func (r *refill) Interrupt() {
	for _, h := range r.heads {
		if r.left > 0 {
			r.Offer(h)
			r.left--
		}
	}
}

// A guest that never stops sending keeps neither Kick nor anybody else.
func TestKickEnds(t *testing.T) {
	d := newDevice(t)
	drv := virtiotest.Start(t, d, virtiotest.Options{NoEvent: true})
	d.StopQueue(queueTx)
	r := &refill{Ring: drv.Queue(queueTx), left: 40000}
	raw := make([]byte, headerLen)
	(&header{srcCID: guestCID, dstCID: HostCID, typ: typeStream, op: opRST}).encode((*[headerLen]byte)(raw))
	for range txBatch {
		r.heads = append(r.heads, r.Chain(r.Readable(raw)))
	}
	q, err := queue.New(drv.Mem, r.Config(false), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Interrupt()
	d.StartQueue(queueTx, q)
	for range 10 { // a driver that notifies all the same
		d.Kick(queueTx)
	}
	d.mu.Lock()
	if r.left == 0 {
		t.Error("Kick returned when the guest stopped sending, not before")
	}
	d.mu.Unlock()
	deadline := time.Now().Add(virtiotest.WaitTimeout)
	for left := -1; left != 0; { // and yet all is taken
		if time.Sleep(time.Millisecond); time.Now().After(deadline) {
			t.Fatalf("%d packets were never taken", left)
		}
		d.mu.Lock()
		left = r.left
		d.mu.Unlock()
	}
}

// Credit requests of one connection are one reply, however many come.
func TestCreditRequestFlood(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	g.pair(d, 0)
	g.starve()
	for range 1000 {
		g.send(on(opCreditRequest, header{}), nil)
	}
	g.feed()
	g.expect(opCreditUpdate)
	g.silence()
}

// Writers that wait for receive buffers go on when there are some.
func TestWriterWaitsForBuffers(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	c := g.pair(d, 1<<20)
	g.starve()
	done := make(chan error)
	go func() {
		_, err := c.Write(pattern(200000, 3))
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("Write without receive buffers: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	g.feed()
	var got []byte
	for len(got) < 200000 {
		got = append(got, g.expect(opRW).data...)
	}
	if err := <-done; err != nil || string(got) != string(pattern(200000, 3)) {
		t.Errorf("Write: %v", err)
	}
}

func TestBrokenRings(t *testing.T) {
	breach := map[string]func(*guest) *virtiotest.Ring{
		"receive buffer without room": func(g *guest) *virtiotest.Ring {
			for range g.rx.Size { // the good ones first
				g.rx.Offer(g.rx.Chain(g.rx.Writable(headerLen)))
			}
			return g.rx
		},
		"tx outside memory": func(g *guest) *virtiotest.Ring {
			g.tx.Offer(g.tx.Chain(virtiotest.Buf{Addr: 1 << 50, Len: 100}))
			g.tx.Kick()
			return g.tx
		},
		"avail.idx jumps": func(g *guest) *virtiotest.Ring {
			g.tx.SetAvailIdx(30000)
			g.tx.Kick()
			return g.tx
		},
	}
	for name, f := range breach {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			drv := virtiotest.Start(t, d, virtiotest.Options{Features: ^uint64(0), QueueSize: 64})
			g := reboot(drv, t, linux)
			c := g.pair(d, 1<<30)
			g.halt()
			ring := f(g)
			if _, err := c.Write(make([]byte, 1<<20)); !errors.Is(err, ErrStopped) || !errors.Is(err, queue.ErrBroken) {
				t.Errorf("Write: %v", err)
			}
			ring.WaitBroken()
			if _, err := d.Dial(t.Context(), 1); !errors.Is(err, ErrStopped) {
				t.Errorf("Dial: %v", err)
			}
			c.Close()
			drv.Stop()
			drv.Restart()
			g = reboot(drv, t, linux)
			c = g.pair(d, 10)
			if _, err := c.Write([]byte("again")); err != nil {
				t.Error(err)
			}
			g.expect(opRW)
		})
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	var raw, again [headerLen]byte
	for i := range raw {
		raw[i] = byte(i + 1)
	}
	h := parseHeader(&raw)
	h.encode(&again)
	if raw != again {
		t.Errorf("%x became %x", raw, again)
	}
	if h.srcPort != binary.LittleEndian.Uint32(raw[16:]) || h.op != 0x201f {
		t.Errorf("parsed %+v", h)
	}
}
