package vsock

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// peer is the guest's side of one connection: it sends as its credit allows and
// reads with a buffer of its own.
type peer struct {
	g     *guest
	alloc uint32 // its receive buffer
	flow  flow   // sent/peerAlloc/peerFwd towards the device; consumed/told for what it received
	eof   bool
	got   []byte // received and not yet consumed
}

// handle takes one packet from the device.
func (p *peer) handle(in packet) {
	p.g.t.Helper()
	if err := p.flow.heard(in.bufAlloc, in.fwdCnt); err != nil {
		p.g.t.Fatalf("device: %v", err)
	}
	switch in.op {
	case opRW:
		if len(in.data) == 0 {
			p.g.t.Fatal("empty packet")
		}
		p.got = append(p.got, in.data...)
		if len(p.got) > int(p.alloc) {
			p.g.t.Fatalf("the device sent %d bytes into a buffer of %d", len(p.got), p.alloc)
		}
	case opShutdown:
		p.eof = in.flags&shutSend != 0
	case opCreditUpdate:
	default:
		p.g.t.Fatalf("unexpected packet %+v", in.header)
	}
}

// consume takes up to n received bytes, and gives credit when half is used up.
func (p *peer) consume(n int) []byte {
	n = min(n, len(p.got))
	b := p.got[:n]
	p.got = p.got[n:]
	p.flow.consumed += uint32(n)
	if p.flow.owed() > 0 && p.flow.owed() >= p.alloc/2 {
		p.send(opCreditUpdate, nil)
	}
	return b
}

func (p *peer) send(op uint16, data []byte) {
	p.flow.told = p.flow.consumed
	p.flow.sent += uint32(len(data))
	p.g.send(on(op, header{bufAlloc: p.alloc, fwdCnt: p.flow.consumed}), data)
}

// transfer moves total random bytes each way at once. chunk picks sizes.
func transfer(g *guest, c *Conn, p *peer, total int, chunk func() int) {
	t := g.t
	t.Helper()
	hostSum, guestSum := make(chan [32]byte, 1), make(chan [32]byte, 1)
	toGuest := rand.NewChaCha8([32]byte{1})
	go func() {
		h := sha256.New()
		for left := total; left > 0; {
			b := make([]byte, min(left, chunk()))
			toGuest.Read(b)
			h.Write(b)
			if n, err := c.Write(b); n != len(b) || err != nil {
				t.Errorf("Write of %d = %d, %v", len(b), n, err)
				break
			}
			left -= len(b)
		}
		c.CloseWrite()
		hostSum <- [32]byte(h.Sum(nil))
	}()
	go func() {
		h := sha256.New()
		b := make([]byte, 1<<18)
		for {
			n, err := c.Read(b[:chunk()])
			h.Write(b[:n])
			if err != nil {
				if err != io.EOF {
					t.Errorf("Read: %v", err)
				}
				break
			}
		}
		guestSum <- [32]byte(h.Sum(nil))
	}()
	toHost := rand.NewChaCha8([32]byte{2})
	sent, received := sha256.New(), sha256.New()
	left := total
	for left > 0 || !p.eof || len(p.got) > 0 {
		if n := min(left, p.flow.window(), 64<<10, chunk()); n > 0 {
			b := make([]byte, n)
			toHost.Read(b)
			sent.Write(b)
			p.send(opRW, b)
			if left -= n; left == 0 {
				p.g.send(on(opShutdown, header{flags: shutSend, bufAlloc: p.alloc, fwdCnt: p.flow.consumed}), nil)
				p.flow.told = p.flow.consumed
			}
		} else if len(p.got) == 0 {
			p.handle(g.recv())
		}
		for more := true; more; {
			select {
			case in := <-g.in:
				p.handle(in)
			default:
				more = false
			}
		}
		received.Write(p.consume(chunk()))
	}
	if a, b := <-hostSum, [32]byte(received.Sum(nil)); a != b {
		t.Error("the guest received something else than was written")
	}
	if a, b := <-guestSum, [32]byte(sent.Sum(nil)); a != b {
		t.Error("the reader got something else than the guest sent")
	}
}

func TestTransfer(t *testing.T) {
	uneven := func(limit int) func() int { return func() int { return 1 + rand.IntN(limit) } }
	for name, c := range map[string]struct {
		rx     layout
		alloc  uint32 // guest's buffer
		buffer int    // ours
		total  int
		chunk  func() int
	}{
		"bulk":           {linux, 256 << 10, 256 << 10, 64 << 20, func() int { return 1 << 17 }},
		"uneven":         {linux, 256 << 10, 256 << 10, 64 << 20, uneven(1 << 17)},
		"one descriptor": {layout{3776}, 100000, 100000, 4 << 20, uneven(1 << 16)},
		"cut header":     {layout{10, 40, 1, 1000}, 10000, 5000, 1 << 20, uneven(9000)},
		"tiny packets":   {layout{46}, 64 << 10, 64 << 10, 20000, uneven(1000)},
		"tiny windows":   {linux, 1, 1, 1000, uneven(10)},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() {
				c.total = min(c.total, 8<<20)
			}
			d := newDevice(t, WithBuffer(c.buffer))
			g := boot(t, d, c.rx)
			conn := g.pair(d, c.alloc)
			p := &peer{g: g, alloc: c.alloc, flow: flow{peerAlloc: uint32(c.buffer)}}
			start := time.Now()
			transfer(g, conn, p, c.total, c.chunk)
			t.Logf("%.0f MB/s each way", float64(c.total)/1e6/time.Since(start).Seconds())
			conn.Close()
			last := g.recv()
			for last.op == opCreditUpdate {
				last = g.recv()
			}
			if last.op != opShutdown || last.flags != shutBoth {
				t.Errorf("Close said %+v", last.header)
			}
		})
	}
}

func TestCountersWrap(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	c := g.pair(d, 100000)
	const near = 0xffffffff - 70000
	d.mu.Lock()
	c.flow = flow{sent: near, peerAlloc: 100000, peerFwd: near, consumed: near + 1, told: near + 1}
	d.mu.Unlock()
	p := &peer{g: g, alloc: 100000, flow: flow{
		sent: near + 1, peerAlloc: uint32(d.limits.buffer), peerFwd: near + 1, consumed: near, told: near,
	}}
	transfer(g, c, p, 1<<20, func() int { return 30000 })
	if c.flow.sent > 1<<20 || c.flow.consumed > 1<<20 {
		t.Errorf("nothing wrapped: %+v", c.flow)
	}
}

func TestSlowReaderBoundsMemory(t *testing.T) {
	const size = 100 << 10
	d := newDevice(t, WithBuffer(size))
	g := boot(t, d, linux)
	c := g.pair(d, 1<<20)
	want := pattern(size, 1)
	for sent := 0; sent < size; sent += 5 << 10 {
		g.send(on(opRW, header{}), want[sent:sent+5<<10])
	}
	g.silence()
	d.mu.Lock()
	if len(c.in.b) > size {
		t.Errorf("buffer of %d bytes, the limit is %d", len(c.in.b), size)
	}
	d.mu.Unlock()
	g.send(on(opRW, header{}), []byte{1}) // beyond the credit
	g.expect(opRST)
	got := make([]byte, size)
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what came before the breach: %v", err)
	}
	if _, err := c.Read(got); !errors.Is(err, ErrProtocol) {
		t.Errorf("after the breach: %v", err)
	}
	if _, err := c.Write(got); !errors.Is(err, ErrProtocol) {
		t.Errorf("after the breach: %v", err)
	}
}

func TestCreditIsToldAtHalf(t *testing.T) {
	d := newDevice(t, WithBuffer(1000))
	g := boot(t, d, linux)
	c := g.pair(d, 0)
	g.send(on(opRW, header{}), make([]byte, 1000))
	b := make([]byte, 499)
	c.Read(b)
	g.silence()
	g.send(on(opCreditRequest, header{}), nil)
	if p := g.expect(opCreditUpdate); p.fwdCnt != 499 || p.bufAlloc != 1000 {
		t.Errorf("asked for: %+v", p.header)
	}
	c.Read(b)
	g.silence()
	c.Read(b[:2])
	if p := g.expect(opCreditUpdate); p.fwdCnt != 1000 {
		t.Errorf("half was read: %+v", p.header)
	}
}

func TestCreditOfTheGuest(t *testing.T) {
	for name, c := range map[string]struct {
		update header // after 100 bytes of credit were used up
		then   int    // bytes sent after it; -1: reset
	}{
		"more":                 {header{bufAlloc: 100, fwdCnt: 30}, 30},
		"larger buffer":        {header{bufAlloc: 150}, 50},
		"shrunk":               {header{bufAlloc: 10, fwdCnt: 50}, 0},
		"all of 4 GiB":         {header{bufAlloc: 0xffffffff, fwdCnt: 100}, 1000},
		"went back":            {header{bufAlloc: 500, fwdCnt: 0xfffffff0}, 0},
		"more than sent":       {header{bufAlloc: 100, fwdCnt: 101}, -1},
		"absurdly more":        {header{bufAlloc: 100, fwdCnt: 1 << 31}, -1},
		"more than sent, full": {header{bufAlloc: 0xffffffff, fwdCnt: 0x7fffffff}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			g := boot(t, d, linux)
			conn := g.pair(d, 100)
			done := make(chan error, 1)
			go func() {
				_, err := conn.Write(make([]byte, 1100))
				done <- err
			}()
			if p := g.expect(opRW); len(p.data) != 100 {
				t.Fatalf("sent %d bytes with credit for 100", len(p.data))
			}
			g.silence()
			g.send(on(opCreditUpdate, c.update), nil)
			switch c.then {
			case -1:
				g.expect(opRST)
				if err := <-done; !errors.Is(err, ErrProtocol) {
					t.Error(err)
				}
				return
			case 0:
			default:
				if p := g.expect(opRW); len(p.data) != c.then {
					t.Errorf("sent %d bytes, want %d", len(p.data), c.then)
				}
			}
			if c.then != 1000 {
				g.silence()
			}
		})
	}
}

func TestHalfClose(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	c := g.pair(d, 1000)
	g.put(on(opRW, header{bufAlloc: 1000}), []byte("request"))
	g.send(on(opShutdown, header{bufAlloc: 1000, flags: shutSend}), nil)
	if b, err := io.ReadAll(c); string(b) != "request" || err != nil {
		t.Fatalf("read %q, %v", b, err)
	}
	if _, err := c.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	g.expect(opRW)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if p := g.expect(opShutdown); p.flags != shutSend {
		t.Errorf("CloseWrite said %+v", p.header)
	}
	if _, err := c.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write after CloseWrite: %v", err)
	}
	c.CloseWrite()
	g.silence()
	g.send(on(opShutdown, header{bufAlloc: 1000, flags: shutRecv}), nil)
	g.expect(opRST)
	c.Close()
	g.silence()
	if d.slots != 0 {
		t.Errorf("%d slots taken", d.slots)
	}
}

func TestGuestStopsReading(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	c := g.pair(d, 0)
	done := make(chan error)
	go func() {
		_, err := c.Write([]byte("x"))
		done <- err
	}()
	time.Sleep(time.Millisecond)
	g.send(on(opShutdown, header{flags: shutRecv}), nil)
	if err := <-done; !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write: %v", err)
	}
	g.send(on(opRW, header{}), []byte("still"))
	b := make([]byte, 10)
	if n, err := c.Read(b); string(b[:n]) != "still" || err != nil {
		t.Errorf("Read %q, %v", b[:n], err)
	}
}

func TestResetByTheGuest(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	c := g.pair(d, 10)
	g.put(on(opRW, header{}), []byte("x"))
	g.send(on(opRST, header{}), nil)
	b := make([]byte, 10)
	if n, err := c.Read(b); n != 1 || err != nil {
		t.Errorf("Read = %d, %v", n, err)
	}
	for name, f := range map[string]func([]byte) (int, error){"Read": c.Read, "Write": c.Write} {
		if _, err := f(b); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
	}
	g.silence()
}

func TestCloseLingers(t *testing.T) {
	for _, answer := range []string{"reset", "shutdown", "nothing"} {
		t.Run(answer, func(t *testing.T) {
			d := newDevice(t, WithLinger(100*time.Millisecond))
			g := boot(t, d, linux)
			c := g.pair(d, 1000)
			c.Write([]byte("last"))
			c.Close()
			g.expect(opRW)
			if p := g.expect(opShutdown); p.flags != shutBoth {
				t.Errorf("Close said %+v", p.header)
			}
			g.send(on(opRW, header{bufAlloc: 1000}), make([]byte, 1<<10)) // was on its way
			switch answer {
			case "reset":
				g.send(on(opRST, header{}), nil)
				g.silence()
			case "shutdown":
				g.send(on(opShutdown, header{bufAlloc: 1000, flags: shutBoth}), nil)
				g.expect(opRST)
			case "nothing":
				g.expect(opRST)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.slots != 0 || len(d.conns) != 0 {
				t.Errorf("%d slots taken, %d connections left", d.slots, len(d.conns))
			}
		})
	}
}

func TestBufferGivesMemoryBack(t *testing.T) {
	d := newDevice(t)
	g := boot(t, d, linux)
	c := g.pair(d, 0)
	if c.in.b != nil {
		t.Error("memory before any data")
	}
	for range 3 {
		g.send(on(opRW, header{}), make([]byte, 64<<10))
	}
	io.ReadFull(c, make([]byte, 3*64<<10))
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(c.in.b) > keepBuffer {
		t.Errorf("a drained connection keeps %d bytes", len(c.in.b))
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{64, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d := newDevice(b)
			g := boot(b, d, linux)
			c := g.pair(d, 0)
			go func() {
				for range g.in { // credit updates
				}
			}()
			data, buf := make([]byte, size), make([]byte, 64<<10)
			b.SetBytes(int64(size))
			for b.Loop() {
				g.send(on(opRW, header{}), data)
				io.ReadFull(c, buf[:size])
			}
		})
	}
}
