package net_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/holtvm/holt/internal/netframe"
)

var be = binary.BigEndian

// large is a TCP segment or a datagram of n bytes with its checksum unfilled, to be
// cut into pieces of size bytes; 0 for not at all.
func large(kind netframe.Segmentation, n, size int) netframe.Frame {
	ip, transport, protocol := 20, 20, byte(6)
	if kind == netframe.UDP {
		transport, protocol = 8, 17
	}
	if kind == netframe.TCP6 {
		ip = 40
	}
	b := pattern(14+ip+transport+n, 0)
	h, t := b[14:14+ip], b[14+ip:]
	var addresses []byte
	if ip == 20 {
		be.PutUint16(b[12:], 0x0800)
		h[0], h[9] = 0x45, protocol
		be.PutUint16(h[2:], uint16(len(b)-14))
		be.PutUint16(h[10:], 0)
		be.PutUint16(h[10:], ^sum(h))
		addresses = h[12:]
	} else {
		be.PutUint16(b[12:], 0x86dd)
		h[0], h[6] = 0x60, protocol
		be.PutUint16(h[4:], uint16(len(t)))
		addresses = h[8:]
	}
	o := netframe.Offload{NeedsChecksum: true, ChecksumStart: uint16(14 + ip), ChecksumOffset: 16}
	if kind == netframe.UDP {
		o.ChecksumOffset = 6
		be.PutUint16(t[4:], uint16(len(t)))
	} else {
		t[12] = 5 << 4
	}
	be.PutUint16(t[o.ChecksumOffset:], sum(append(bytes.Clone(addresses), 0, protocol, byte(len(t)>>8), byte(len(t)))))
	if size > 0 {
		o.Segment, o.SegmentSize, o.HeaderLen = kind, uint16(size), uint16(14+ip+transport)
	}
	return frame(b, o)
}

// sum is the Internet checksum's sum, as RFC 1071 writes it.
func sum(b []byte) uint16 {
	var s uint32
	for i, v := range b {
		s += uint32(v) << (8 * (1 - i%2))
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// TestOffloadsReachTheGuest: what the driver accepted is left to it, and it is told
// so.
func TestOffloadsReachTheGuest(t *testing.T) {
	const n, size = 5000, 1400
	for name, c := range map[string]struct {
		features uint64
		frame    netframe.Frame
		want     hdr
	}{
		"nothing accepted": {mergeable, frame(pattern(60, 0), netframe.Offload{}), hdr{}},
		"nothing to do":    {mergeable | guestCsum, frame(pattern(60, 0), netframe.Offload{}), hdr{flags: 2}},
		"checksum":         {mergeable | guestCsum, large(netframe.TCP4, n, 0), hdr{flags: 1, start: 34, offset: 16}},
		"tcp4":             {mergeable | guestCsum | guestTSO4, large(netframe.TCP4, n, size), hdr{1, 1, 54, size, 34, 16}},
		"tcp6":             {mergeable | guestCsum | guestTSO6, large(netframe.TCP6, n, size), hdr{1, 4, 74, size, 54, 16}},
		"udp":              {mergeable | guestCsum | guestUSO, large(netframe.UDP, n, size), hdr{1, 5, 42, size, 34, 6}},
	} {
		d, _, w := start(t, c.features)
		bufs := post(d, 4096, 4096)
		want := c.frame.Append(nil)
		if k := w.receive([]netframe.Frame{c.frame}); k != 1 {
			t.Fatalf("%s: %d frames taken", name, k)
		}
		if g, _ := collect(t, d, bufs); !bytes.Equal(g.header, c.want.bytes()) || !bytes.Equal(g.data, want) {
			t.Errorf("%s: header %x, want %x; %d bytes", name, g.header, c.want.bytes(), len(g.data))
		}
	}
}

// TestOffloadsInSoftware: what the driver did not accept is done for it.
func TestOffloadsInSoftware(t *testing.T) {
	const n, size = 5000, 1400
	for name, c := range map[string]struct {
		features uint64
		frame    netframe.Frame
		pieces   int
	}{
		"checksum":         {mergeable, large(netframe.TCP4, n, 0), 1},
		"no checksum":      {mergeable | guestTSO4, large(netframe.TCP4, n, size), 4},
		"tcp4":             {mergeable | guestCsum | guestTSO6 | guestUSO, large(netframe.TCP4, n, size), 4},
		"tcp6":             {mergeable | guestCsum | guestTSO4 | guestUSO, large(netframe.TCP6, n, size), 4},
		"udp":              {mergeable | guestCsum | guestTSO4 | guestUSO&^(1<<55), large(netframe.UDP, n, size), 4},
		"one large buffer": {guestCsum, large(netframe.TCP4, n, size), 4},
	} {
		d, dev, w := start(t, c.features)
		bufs := post(d, 8192, 8192, 8192, 8192)
		f := c.frame
		if k := w.receive([]netframe.Frame{f}); k != 1 {
			t.Fatalf("%s: %d frames taken", name, k)
		}
		headers := int(f.HeaderLen)
		if headers == 0 {
			headers = 54
		}
		var payload []byte
		for range c.pieces {
			var g got
			g, bufs = collect(t, d, bufs)
			checkTransport(t, name, g.data)
			payload = append(payload, g.data[headers:]...)
			if g.header[0]&1 != 0 || g.header[1] != 0 {
				t.Errorf("%s: something is left to do: %x", name, g.header)
			}
		}
		if !bytes.Equal(payload, f.Append(nil)[headers:]) {
			t.Errorf("%s: the payload is not what was sent", name)
		}
		if k := dev.Counters().Received; k != 1 {
			t.Errorf("%s: %d frames counted", name, k)
		}
	}
}

// checkTransport checks the transport checksum of a frame that large made.
func checkTransport(t *testing.T, name string, b []byte) {
	t.Helper()
	addresses, at := b[26:34], 34
	protocol := b[23]
	if be.Uint16(b[12:]) == 0x86dd {
		addresses, at, protocol = b[22:54], 54, b[20]
	}
	n := len(b) - at
	all := append(bytes.Clone(addresses), 0, protocol, byte(n>>8), byte(n))
	if s := sum(append(all, b[at:]...)); s != 0xffff {
		t.Errorf("%s: the checksum of a piece is wrong: %#x", name, s)
	}
}

// TestPiecesWaitForBuffers: a frame that is cut is taken when its first piece is; the
// others go when there are buffers, before any other frame.
func TestPiecesWaitForBuffers(t *testing.T) {
	d, _, w := start(t, mergeable|guestCsum)
	segment, next := large(netframe.TCP4, 4000, 1000), frame(pattern(100, 1), netframe.Offload{})
	bufs := post(d, 2048, 2048)
	if n := w.receive([]netframe.Frame{segment, next}); n != 1 {
		t.Fatalf("%d frames taken", n)
	}
	bufs = append(bufs, post(d, 2048)...)
	d.Queue(receiveq).Kick()
	if w.rooms != 0 {
		t.Error("room before the last piece")
	}
	bufs = append(bufs, post(d, 2048, 2048)...)
	d.Queue(receiveq).Kick()
	if w.rooms != 1 {
		t.Errorf("%d times room", w.rooms)
	}
	if n := w.receive([]netframe.Frame{next}); n != 1 {
		t.Fatalf("%d frames taken", n)
	}
	for _, size := range []int{1054, 1054, 1054, 1054, 100} {
		var g got
		if g, bufs = collect(t, d, bufs); len(g.data) != size {
			t.Errorf("%d bytes, want %d", len(g.data), size)
		}
	}
}
