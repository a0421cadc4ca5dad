package vsock

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestlog"
	"github.com/holtvm/holt/internal/virtio/queue"
	"github.com/holtvm/holt/internal/virtiotest"
)

// All connections together hold no more than the budget, each may hold what it was
// granted, and what they give back can be had again.
func TestReceivedBytesAreBounded(t *testing.T) {
	const conns, budget = 100, 1 << 20
	d := newDevice(t, WithBudget(budget), WithMaxConns(conns), WithBacklog(conns), WithLinger(time.Hour))
	g := boot(t, d, linux)
	for range 2 {
		l, err := d.Listen(1)
		if err != nil {
			t.Fatal(err)
		}
		promised, least := 0, 1<<30
		for i := range uint32(conns) {
			g.send(header{op: opRequest, srcPort: i, dstPort: 1}, nil)
			credit := int(g.expect(opResponse).bufAlloc)
			promised, least = promised+credit, min(least, credit)
			for n := 0; n < credit; n += 64 << 10 {
				g.send(header{op: opRW, srcPort: i, dstPort: 1}, make([]byte, min(credit-n, 64<<10)))
			}
		}
		if promised > budget+conns*minBuffer || promised < budget || least < minBuffer {
			t.Errorf("promised %d bytes, to some %d", promised, least)
		}
		d.mu.Lock()
		received, held := 0, 0
		for _, c := range d.conns {
			received, held = received+c.in.n, held+len(c.in.b)
		}
		d.mu.Unlock()
		if received != promised || held > budget+conns*minBuffer {
			t.Errorf("received %d of the promised %d bytes, in buffers of %d", received, promised, held)
		}
		for i := range uint32(conns) { // one more than promised
			g.send(header{op: opRW, srcPort: i, dstPort: 1}, []byte("x"))
			g.expect(opRST)
		}
		l.Close()
		if d.slots != 0 || d.spare != budget {
			t.Errorf("at the end: %d slots, %d of the budget", d.slots, d.spare)
		}
	}
}

// Packets that are logged are not logged as often as they come.
func TestLogFlood(t *testing.T) {
	var log strings.Builder
	d := New(guestCID, slog.New(slog.NewTextHandler(&log, nil)))
	g := boot(t, d, linux)
	begin := time.Now()
	for i := range 500 {
		h := header{op: opRST, srcCID: 3}
		if i%2 == 0 {
			h = header{op: opRST, typ: 2}
		}
		g.send(h, nil)
	}
	g.putRaw(make([]byte, 10), 10)
	g.kick()
	d.mu.Lock() // the builder is written under it
	defer d.mu.Unlock()
	if n, most := strings.Count(log.String(), "\n"), guestlog.Burst*(2+int(time.Since(begin)/time.Second)); n == 0 || n > most {
		t.Errorf("%d lines for 501 packets, at most %d are due", n, most)
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

// What the device owed to a driver is not told to the next one.
func TestResetDropsReplies(t *testing.T) {
	d := newDevice(t)
	drv := virtiotest.Start(t, d, virtiotest.Options{Features: ^uint64(0), QueueSize: 64})
	g := reboot(drv, t, linux)
	c := g.pair(d, 0)
	g.starve()
	for range 5 {
		g.send(header{op: opRW, srcPort: 6, dstPort: 9}, nil)
	}
	g.halt()
	drv.Stop()
	drv.Restart()
	reboot(drv, t, linux).silence()
	c.Close()
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
