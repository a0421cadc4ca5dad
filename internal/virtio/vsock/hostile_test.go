package vsock

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
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

// What comes from somebody else, or is for somebody else, does nothing to an open
// connection, though it names its ports.
func TestForgedPacketsOnAnOpenConnection(t *testing.T) {
	for name, forged := range map[string]header{
		"source":             {srcCID: 3},
		"source of the host": {srcCID: HostCID},
		"wide source":        {srcCID: guestCID | 1<<32},
		"destination":        {dstCID: 3},
		"type":               {typ: 2},
	} {
		d := newDevice(t)
		g := boot(t, d, linux)
		c := g.pair(d, 100)
		for _, op := range []uint16{opRST, opShutdown, opRW, opCreditUpdate} {
			h := forged
			h.flags, h.bufAlloc, h.fwdCnt = shutBoth, 0, 77
			g.send(on(op, h), []byte("forged"))
			if forged.srcCID == 0 && op != opRST {
				g.expect(opRST) // for the other destination or type
			}
		}
		g.silence()
		g.send(on(opRW, header{bufAlloc: 100}), []byte("real"))
		got := make([]byte, 100)
		if n, err := c.Read(got); string(got[:n]) != "real" || err != nil {
			t.Errorf("forged %s: Read = %q, %v", name, got[:n], err)
		}
		if _, err := c.Write([]byte("answer")); err != nil {
			t.Errorf("forged %s: Write: %v", name, err)
		}
		g.expect(opRW)
	}
}

// A packet whose header changes while the device handles it is judged by what it
// was once: it never counts as more than it may.
func TestHeaderChangesUnderTheDevice(t *testing.T) {
	const buffer = 5000
	d := New(guestCID, discard, WithBuffer(buffer))
	l, err := d.Listen(2000)
	if err != nil {
		t.Fatal(err)
	}
	drv := virtiotest.Start(t, d, virtiotest.Options{Features: ^uint64(0)})
	tx := drv.Queue(queueTx)
	room := tx.Writable(headerLen + 8000)
	raw := tx.Bytes(room.Addr, room.Len)
	head := tx.Chain(virtiotest.Buf{Addr: room.Addr, Len: room.Len})
	put := func(h header) {
		h.srcCID, h.dstCID, h.typ, h.srcPort, h.dstPort = guestCID, HostCID, typeStream, 1000, 2000
		h.encode((*[headerLen]byte)(raw))
	}
	stop := make(chan struct{})
	var driver sync.WaitGroup
	defer driver.Wait()
	defer close(stop)
	driver.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				put([]header{{op: opRW, length: 7}, {op: opRW, length: 8000}, {op: opRW, length: 0xffffffff}, {op: opRequest}, {op: opRST, length: 7}}[i%5])
			}
		}
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	defer l.Close()
	rx, offered := drv.Queue(queueRx), 0
	buf := rx.Chain(rx.Writable(1000))
	for range 5000 {
		tx.Offer(head)
		tx.Kick()
		tx.WaitUsed()
		for ; offered < 100; offered++ { // room for answers
			rx.Offer(buf)
		}
		rx.Kick()
		for _, used := rx.Used(); used; _, used = rx.Used() {
			offered--
		}
		d.mu.Lock()
		for _, c := range d.conns {
			if c.in.n > buffer || len(c.in.b) > buffer {
				t.Errorf("%d bytes in a buffer of %d", c.in.n, len(c.in.b))
			}
		}
		d.mu.Unlock()
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
