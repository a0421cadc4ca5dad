package net_test

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"sync"
	"testing"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/net"
	"github.com/holtvm/holt/internal/virtiotest"
)

// Queues and feature bits (virtio 1.2, 5.1.2 and 5.1.3).
const (
	receiveq  = 0
	transmitq = 1

	csum      = 1 << 0
	guestCsum = 1 << 1
	guestTSO4 = 1 << 7
	guestTSO6 = 1 << 8
	hostTSO4  = 1 << 11
	hostTSO6  = 1 << 12
	hostECN   = 1 << 13
	mergeable = 1 << 15
	guestUSO  = 1<<54 | 1<<55
	hostUSO   = 1 << 56
	all       = ^uint64(0)
)

const mtu = 65520

var mac = [6]byte{2, 0, 0, 0, 0, 9}

// wire is a network on which the test is the only other station.
type wire struct {
	mu      sync.Mutex
	receive func([]netframe.Frame) int
	sent    []netframe.Frame // copies
	rooms   int
	reply   func(netframe.Frame)
}

func (w *wire) Attach(receive func([]netframe.Frame) int) { w.receive = receive }

func (w *wire) Transmit(f netframe.Frame) {
	w.mu.Lock()
	w.sent = append(w.sent, netframe.Frame{Parts: [][]byte{f.Append(nil)}, Offload: f.Offload})
	w.mu.Unlock()
	if w.reply != nil {
		w.reply(f)
	}
}

func (w *wire) Room() {
	w.mu.Lock()
	w.rooms++
	w.mu.Unlock()
}

func newDevice() (*net.Device, *wire) {
	w := &wire{}
	return net.New(mac, mtu, w, slog.New(slog.DiscardHandler)), w
}

// start has a driver that accepts these features run the device.
func start(t testing.TB, features uint64) (*virtiotest.Driver, *net.Device, *wire) {
	t.Helper()
	dev, w := newDevice()
	return virtiotest.Start(t, dev, virtiotest.Options{Features: features}), dev, w
}

// post gives the device receive buffers of these sizes, without a kick.
func post(d *virtiotest.Driver, sizes ...int) (bufs []virtiotest.Buf) {
	q := d.Queue(receiveq)
	for _, n := range sizes {
		b := q.Writable(n)
		q.Offer(q.Chain(b))
		bufs = append(bufs, b)
	}
	return bufs
}

// got is what the driver finds in its buffers: for each frame the header without
// num_buffers, and the rest.
type got struct {
	header []byte
	data   []byte
}

// collect takes one frame out of the buffers, in whose order they were filled, and
// returns the buffers behind it.
func collect(t testing.TB, d *virtiotest.Driver, bufs []virtiotest.Buf) (got, []virtiotest.Buf) {
	t.Helper()
	q := d.Queue(receiveq)
	var b []byte
	for n := 1; n > 0; n-- {
		e, ok := q.Used()
		if !ok {
			t.Fatalf("%d more buffers are missing", n)
		}
		part := q.Bytes(bufs[0].Addr, int(e.Len))
		if b == nil {
			n = int(binary.LittleEndian.Uint16(part[10:]))
		}
		b = append(b, part...)
		bufs = bufs[1:]
	}
	return got{b[:10], b[12:]}, bufs
}

// pattern is a frame of n bytes that no other one is like.
func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + seed)
	}
	return b
}

// frame is a frame in parts of odd sizes.
func frame(b []byte, o netframe.Offload) netframe.Frame {
	f := netframe.Frame{Offload: o}
	for k := 1; len(b) > 0; k = 3*k + 1 {
		n := min(k, len(b))
		f.Parts = append(f.Parts, b[:n])
		b = b[n:]
	}
	return f
}

func TestConfiguration(t *testing.T) {
	dev, _ := newDevice()
	if dev.Type() != virtio.TypeNet || len(dev.QueueSizes()) != 2 {
		t.Errorf("type %v, queues %v", dev.Type(), dev.QueueSizes())
	}
	want := []byte{2, 0, 0, 0, 0, 9, 1, 0, 1, 0, 0xf0, 0xff, 0, 0}
	p := make([]byte, len(want))
	dev.WriteConfig(0, make([]byte, 6))
	if dev.ReadConfig(0, p); !bytes.Equal(p, want) {
		t.Errorf("configuration %x, want %x", p, want)
	}
}

// TestGuestSends: the frame arrives whole however its chain is cut, the header
// included, and so do several at once.
func TestGuestSends(t *testing.T) {
	d, dev, w := start(t, all)
	q := d.Queue(transmitq)
	want := [][]byte{pattern(14, 1), pattern(60, 2), pattern(1514, 3), pattern(netframe.MaxSize, 4)}
	for i, cuts := range [][]int{{}, {12}, {5}, {12, 26}, {1, 2, 13, 20}} {
		for _, data := range want {
			raw := append(make([]byte, 12), data...)
			var bufs []virtiotest.Buf
			last := 0
			for _, c := range cuts {
				bufs = append(bufs, q.Readable(raw[last:min(c, len(raw))]))
				last = min(c, len(raw))
			}
			bufs = append(bufs, q.Readable(raw[last:]))
			if i%2 == 0 {
				q.Offer(q.Chain(bufs...))
			} else {
				q.Offer(q.Indirect(bufs...))
			}
		}
		w.sent = nil
		q.Kick()
		if len(w.sent) != len(want) {
			t.Fatalf("cut at %v: %d frames sent", cuts, len(w.sent))
		}
		for k, data := range want {
			if e := q.WaitUsed(); e.Len != 0 {
				t.Errorf("%d bytes written into a frame", e.Len)
			}
			if !bytes.Equal(w.sent[k].Parts[0], data) || w.sent[k].Offload != (netframe.Offload{}) {
				t.Errorf("cut at %v: frame %d is not what was sent", cuts, k)
			}
		}
	}
	if !wantsKick(q, false) {
		t.Error("no kick is asked for")
	}
	if c := dev.Counters(); c != (net.Counters{Sent: 20}) {
		t.Errorf("%+v", c)
	}
}

// TestReplyFromTransmit: a backend may answer on the goroutine that brought the
// frame.
func TestReplyFromTransmit(t *testing.T) {
	d, _, w := start(t, all)
	w.reply = func(f netframe.Frame) {
		if n := w.receive([]netframe.Frame{f}); n != 1 {
			t.Errorf("%d frames taken", n)
		}
	}
	bufs := post(d, 200)
	data := pattern(100, 0)
	d.Queue(transmitq).Do(append(make([]byte, 12), data...), 0)
	if g, _ := collect(t, d, bufs); !bytes.Equal(g.data, data) {
		t.Errorf("got %x", g.data)
	}
}
