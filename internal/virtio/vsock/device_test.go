package vsock

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtio/queue"
	"github.com/holtvm/holt/internal/virtiotest"
)

func TestConfigSpaceIsTheCID(t *testing.T) {
	d := newDevice(t)
	got := bytes.Repeat([]byte{0xff}, 10)
	d.ReadConfig(0, got)
	if !bytes.Equal(got, []byte{guestCID, 0, 0, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("config space %x", got)
	}
}

func TestGuestConnects(t *testing.T) {
	d := newDevice(t)
	l, err := d.Listen(1024)
	if err != nil {
		t.Fatal(err)
	}
	g := boot(t, d, linux)
	g.send(header{op: opRequest, srcPort: 5, dstPort: 1024, bufAlloc: 1 << 18}, nil)
	r := g.expect(opResponse)
	if r.srcCID != HostCID || r.dstCID != guestCID || r.srcPort != 1024 || r.dstPort != 5 || r.typ != typeStream || r.bufAlloc != 256<<10 || r.fwdCnt != 0 {
		t.Errorf("response %+v", r.header)
	}
	c := accept(t, l)
	if c.LocalAddr() != (Addr{HostCID, 1024}) || c.RemoteAddr() != (Addr{guestCID, 5}) || c.RemoteAddr().String() != "77:5" {
		t.Errorf("addresses %v, %v", c.LocalAddr(), c.RemoteAddr())
	}
	g.send(header{op: opRW, srcPort: 5, dstPort: 1024, bufAlloc: 1 << 18}, []byte("otter"))
	b := make([]byte, 100)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "otter" {
		t.Fatalf("Read = %q, %v", b[:n], err)
	}
	if n, err := c.Write([]byte("holt")); n != 4 || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
	if p := g.expect(opRW); string(p.data) != "holt" || p.fwdCnt != 5 {
		t.Errorf("packet %+v %q", p.header, p.data)
	}
}

func TestDial(t *testing.T) {
	d := newDevice(t)
	if _, err := d.Dial(t.Context(), 9); !errors.Is(err, ErrStopped) {
		t.Errorf("without a driver: %v", err)
	}
	g := boot(t, d, linux)
	type result struct {
		c   net.Conn
		err error
	}
	dial := func(ctx context.Context) chan result {
		ch := make(chan result, 1)
		go func() {
			c, err := d.Dial(ctx, 9)
			ch <- result{c, err}
		}()
		return ch
	}
	answer := func(q packet, op uint16, data []byte) {
		g.send(header{op: op, srcPort: q.dstPort, dstPort: q.srcPort, bufAlloc: 1 << 16}, data)
	}

	ch := dial(t.Context())
	q := g.expect(opRequest)
	if q.dstPort != 9 || q.bufAlloc != 256<<10 {
		t.Errorf("request %+v", q.header)
	}
	answer(q, opResponse, nil)
	r := <-ch
	if r.err != nil {
		t.Fatal(r.err)
	}
	answer(q, opRW, []byte("hi"))
	b := make([]byte, 2)
	if _, err := io.ReadFull(r.c, b); err != nil || string(b) != "hi" {
		t.Errorf("read %q, %v", b, err)
	}

	ch = dial(t.Context())
	refused := g.expect(opRequest)
	if refused.srcPort == q.srcPort {
		t.Error("two connections with the same ports")
	}
	answer(refused, opRST, nil)
	if r := <-ch; !errors.Is(r.err, syscall.ECONNREFUSED) {
		t.Errorf("refused: %v", r.err)
	}

	ch = dial(t.Context())
	answer(g.expect(opRequest), opRW, []byte("too early"))
	if r := <-ch; !errors.Is(r.err, ErrProtocol) {
		t.Errorf("data before the response: %v", r.err)
	}
	g.expect(opRST)

	ctx, cancel := context.WithCancel(t.Context())
	ch = dial(ctx)
	late := g.expect(opRequest)
	cancel()
	if r := <-ch; !errors.Is(r.err, context.Canceled) {
		t.Errorf("cancelled: %v", r.err)
	}
	g.expect(opRST)
	answer(late, opResponse, nil)
	g.expect(opRST)

	if d.slots != 1 || len(d.conns) != 1 {
		t.Errorf("%d slots and %d connections left, want the first", d.slots, len(d.conns))
	}
}

// A guest may answer, send and close before Dial's goroutine runs again.
func TestDialOfAShortLife(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	ch := make(chan net.Conn, 1)
	go func() {
		c, err := d.Dial(t.Context(), 9)
		if err != nil {
			t.Error(err)
		}
		ch <- c
	}()
	q := g.expect(opRequest)
	h := header{op: opResponse, srcPort: 9, dstPort: q.srcPort}
	g.put(h, nil)
	h.op = opRW
	g.put(h, []byte("bye"))
	h.op, h.flags = opShutdown, shutBoth
	g.put(h, nil)
	g.kick()
	if b, err := io.ReadAll(<-ch); string(b) != "bye" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	g.expect(opRST)
}

func TestDialOfAStuckGuestPilesNothingUp(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	g.starve()
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Microsecond)
		if _, err := d.Dial(ctx, 9); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
	}
	if len(d.control) != 0 || d.slots != 0 {
		t.Errorf("%d packets wait, %d slots taken", len(d.control), d.slots)
	}
}

func TestListener(t *testing.T) {
	d := newDevice(t)
	l, err := d.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Listen(7); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second Listen: %v", err)
	}
	if _, err := d.Listen(portAny); err == nil {
		t.Error("Listen took VMADDR_PORT_ANY")
	}
	g := boot(t, d, linux)
	g.send(header{op: opRequest, srcPort: 1, dstPort: 7}, nil)
	g.expect(opResponse)
	done := make(chan error)
	accept(t, l)
	go func() {
		_, err := l.Accept()
		done <- err
	}()
	g.send(header{op: opRequest, srcPort: 2, dstPort: 8}, nil)
	if p := g.expect(opRST); p.dstPort != 2 || p.srcPort != 8 {
		t.Errorf("refusal %+v", p.header)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept on a closed listener: %v", err)
	}
	g.send(header{op: opRequest, srcPort: 3, dstPort: 7}, nil)
	g.expect(opRST)
	g.send(header{op: opRW, srcPort: 1, dstPort: 7}, []byte("still there"))
	g.silence()
}

func TestListenerCloseResetsTheBacklog(t *testing.T) {
	d := newDevice(t)
	l, _ := d.Listen(7)
	g := boot(t, d, linux)
	g.send(header{op: opRequest, srcPort: 1, dstPort: 7}, nil)
	g.expect(opResponse)
	l.Close()
	g.expect(opRST)
	if d.slots != 0 {
		t.Errorf("%d slots taken", d.slots)
	}
}

func TestStopEndsConnections(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	l, _ := d.Listen(1)
	defer l.Close()
	c := g.pair(d, 0)
	results := make(chan error, 3)
	go func() { // no credit: waits
		_, err := c.Write([]byte("x"))
		results <- err
	}()
	go func() {
		_, err := d.Dial(context.Background(), 4)
		results <- err
	}()
	g.expect(opRequest)
	// Sent and not kicked: a guest's last words before it powers off.
	g.put(on(opRW, header{}), []byte("last words"))
	g.halt()
	g.drv.Stop()
	for range 2 {
		if err := <-results; !errors.Is(err, ErrStopped) {
			t.Errorf("while the driver stopped: %v", err)
		}
	}
	b := make([]byte, 100)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "last words" {
		t.Errorf("Read = %q, %v", b[:n], err)
	}
	if _, err := c.Read(b); !errors.Is(err, ErrStopped) {
		t.Errorf("Read after the end: %v", err)
	}
	c.Close()
	if d.slots != 0 || len(d.conns) != 0 || len(d.rxWaiters) != 0 {
		t.Errorf("left over: %d slots, %d connections, %d waiters", d.slots, len(d.conns), len(d.rxWaiters))
	}

	g.drv.Restart()
	g = reboot(g.drv, t, linux)
	g.send(header{op: opRequest, srcPort: 1, dstPort: 1}, nil)
	g.expect(opResponse)
	accept(t, l)
}

// A transport stops and starts the queues of a machine that is paused, without a
// Reset. Transfers go on where they were.
func TestPauseKeepsConnections(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	c := g.pair(d, 256<<10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			time.Sleep(time.Millisecond)
			var at [2]uint16
			g.mu.Lock() // the guest stands still
			for i, q := range []**queue.Queue{&d.rx, &d.tx} {
				d.mu.Lock()
				old := *q
				d.mu.Unlock()
				d.StopQueue(i)
				at[i] = old.NextAvail()
			}
			for i, r := range []*virtiotest.Ring{g.rx, g.tx} {
				cfg := r.Config(true)
				cfg.NextAvail = at[i]
				q, err := queue.New(g.drv.Mem, cfg, r)
				if err != nil {
					t.Error(err)
				}
				d.StartQueue(i, q)
			}
			g.mu.Unlock()
		}
	}()
	p := &peer{g: g, alloc: 256 << 10, flow: flow{peerAlloc: 256 << 10}}
	transfer(g, c, p, 16<<20, func() int { return 50000 })
	<-done
}

func TestStopWithTransfersInFlight(t *testing.T) {
	d := newDevice(t)
	drv := virtiotest.Start(t, d, virtiotest.Options{Features: ^uint64(0)})
	lots := make([]byte, 64<<20)
	for range 20 {
		g := reboot(drv, t, linux)
		c := g.pair(d, 1<<30)
		done := make(chan error, 2)
		go func() {
			_, err := c.Write(lots)
			done <- err
		}()
		go func() {
			_, err := io.Copy(io.Discard, c)
			done <- err
		}()
		for range 20 {
			g.send(on(opRW, header{bufAlloc: 1 << 30}), make([]byte, 4096))
			g.recv()
		}
		g.halt()
		drv.Stop()
		for range 2 {
			if err := <-done; !errors.Is(err, ErrStopped) {
				t.Fatal(err)
			}
		}
		c.Close()
		drv.Restart()
	}
}

func TestDeadlines(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	c := g.pair(d, 0)
	b := make([]byte, 8)
	for name, f := range map[string]func() error{
		"read":  func() error { _, err := c.Read(b); return err },
		"write": func() error { _, err := c.Write(b); return err },
	} {
		c.SetDeadline(time.Now().Add(-time.Second))
		if err := f(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s, deadline in the past: %v", name, err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Millisecond))
		err := f()
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("%s, deadline soon: %v", name, err)
		}
		c.SetDeadline(time.Time{})
		done := make(chan error)
		go func() { done <- f() }()
		select {
		case err := <-done:
			t.Errorf("%s without a deadline: %v", name, err)
		case <-time.After(20 * time.Millisecond):
		}
		c.SetDeadline(time.Now())
		if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s, deadline set meanwhile: %v", name, err)
		}
		c.SetDeadline(time.Time{})
	}
	g.send(on(opRW, header{bufAlloc: 3}), []byte("abc"))
	if n, err := c.Read(b); n != 3 || err != nil {
		t.Errorf("Read = %d, %v", n, err)
	}
	c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := c.Write(b); n != 3 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write with credit for 3: %d, %v", n, err)
	}
}

func TestCloseWakesEverybody(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	c := g.pair(d, 0)
	done := make(chan error, 2)
	go func() { _, err := c.Read(make([]byte, 1)); done <- err }()
	go func() { _, err := c.Write(make([]byte, 1)); done <- err }()
	time.Sleep(5 * time.Millisecond)
	c.Close()
	for range 2 {
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}
