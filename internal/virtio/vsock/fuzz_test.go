package vsock

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"runtime/debug"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtiotest"
)

// FuzzTx feeds packets of any content and shape to a device with a listener, an
// open connection and one that is being dialed, while the host side reads, writes
// and closes. Each step of the input is a byte that says how the header is
// altered and the packet is cut, then eight bytes for that. No limit may be
// passed and nothing may hang.
func FuzzTx(f *testing.F) {
	for op := range byte(9) {
		f.Add([]byte{op, 0, 0, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4, 5, 6, 7, 8})
		f.Add([]byte{op | 0x10, 1, 0, 0, 0, 4, 0, 0, 0, op | 0x20, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		watchdog := time.AfterFunc(5*time.Second, func() {
			debug.SetTraceback("all")
			panic("hangs")
		})
		defer watchdog.Stop()
		const conns, backlog, buffer, budget = 6, 2, minBuffer + 1000, 4000
		d := New(guestCID, discard, WithMaxConns(conns), WithBacklog(backlog), WithBuffer(buffer), WithBudget(budget), WithLinger(time.Millisecond))
		drv := virtiotest.Start(t, d, virtiotest.Options{Memory: 1 << 20, QueueSize: 16})
		rx, tx := drv.Queue(queueRx), drv.Queue(queueTx)
		offer := func() {
			rx.Offer(rx.Chain(rx.Writable(100)))
			rx.Kick()
		}
		l, err := d.Listen(2000)
		if err != nil {
			t.Fatal(err)
		}
		room := tx.Writable(4096)
		send := func(raw []byte, cut int, writable bool) {
			copy(tx.Bytes(room.Addr, room.Len), raw)
			bufs := []virtiotest.Buf{{Addr: room.Addr, Len: cut}, {Addr: room.Addr + uint64(cut), Len: len(raw) - cut, Write: writable}}
			tx.Offer(tx.Chain(bufs...))
			tx.Kick()
		}
		ctx, cancel := context.WithCancel(context.Background())
		dialed := make(chan struct{})
		go func() {
			defer close(dialed)
			if c, err := d.Dial(ctx, 1000); err == nil {
				c.Close()
			}
		}()
		accepted := make(chan struct{})
		go func() {
			defer close(accepted)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.SetDeadline(time.Now().Add(time.Millisecond))
				c.Read(make([]byte, 500))
				c.Write(make([]byte, 500))
				c.Close()
			}
		}()
		for n := 0; len(in) >= 9 && n < 200; n++ {
			how, arg := in[0], in[1:9]
			in = in[9:]
			h := header{
				srcCID: guestCID, dstCID: HostCID, srcPort: uint32(arg[0] & 3), dstPort: 2000, typ: typeStream,
				op: uint16(how & 15), flags: uint32(arg[1]), bufAlloc: binary.LittleEndian.Uint32(arg[2:]),
				length: uint32(arg[6]) << (arg[7] & 7), fwdCnt: uint32(arg[7] >> 3),
			}
			if how&16 != 0 { // the dialed one
				h.srcPort, h.dstPort = 1000, firstEphemeral+1
			}
			var b [headerLen]byte
			h.encode(&b)
			if how&32 != 0 { // any eight bytes of the header
				copy(b[int(arg[0])%(headerLen-7):], arg)
			}
			raw := append(b[:], make([]byte, int(h.length)%4000)...)
			if how&64 != 0 {
				raw = raw[:1+int(arg[1])%len(raw)]
			}
			send(raw, int(arg[7])%len(raw), how&128 != 0)
			if arg[0]&4 != 0 {
				offer()
			}
			d.mu.Lock()
			waiting, held := 0, 0
			for _, c := range d.conns {
				if c.listener != nil {
					waiting++
				}
				if c.in.n > c.limit || len(c.in.b) > c.limit || c.limit > buffer {
					t.Errorf("%d bytes received in a buffer of %d, the limit is %d", c.in.n, len(c.in.b), c.limit)
				}
				held += len(c.in.b)
			}
			if held > budget+conns*minBuffer || d.spare < 0 {
				t.Errorf("%d bytes in all buffers, %d to spare", held, d.spare)
			}
			if len(d.conns) > d.slots || d.slots > conns || waiting > backlog || len(d.control) > maxReplies+4*conns {
				t.Errorf("%d connections, %d slots, %d waiting, %d replies", len(d.conns), d.slots, waiting, len(d.control))
			}
			d.mu.Unlock()
		}
		cancel()
		l.Close()
		<-dialed
		<-accepted
		drv.Stop()
		if d.slots != 0 || len(d.conns) != 0 || d.spare != budget {
			t.Errorf("at the end: %d connections, %d slots, %d of the budget", len(d.conns), d.slots, d.spare)
		}
	})
}

func FuzzLoadState(f *testing.F) {
	virtiotest.FuzzState(f, func(testing.TB) virtio.Device { return New(guestCID, discard) })
}

// FuzzRings has rings of any content, that for events among them, before a device that
// has a driver to tell of a reset.
func FuzzRings(f *testing.F) {
	state, err := json.Marshal(State{Version: stateVersion, GuestCID: guestCID, Started: true, LastPort: firstEphemeral})
	if err != nil {
		f.Fatal(err)
	}
	request := header{srcCID: guestCID, dstCID: HostCID, srcPort: 1, dstPort: 2, typ: typeStream, op: opRequest}
	var raw [headerLen]byte
	request.encode(&raw)
	virtiotest.FuzzDevice(f, func(t *testing.T) virtio.Device {
		d := New(guestCID, discard)
		if err := d.LoadState(state); err != nil {
			t.Fatal(err)
		}
		return d
	}, [][]byte{raw[:], raw[:]}, [][]byte{nil, nil, nil})
}
