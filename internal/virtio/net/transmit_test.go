package net_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/holtvm/holt/internal/netframe"
)

// hdr is struct virtio_net_hdr without num_buffers (virtio 1.2, 5.1.6).
type hdr struct {
	flags, gso                     byte
	hdrLen, gsoSize, start, offset uint16
}

func (h hdr) bytes() []byte {
	b := []byte{h.flags, h.gso}
	for _, v := range []uint16{h.hdrLen, h.gsoSize, h.start, h.offset} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

// TestHeaders: what the guest says of a frame reaches the backend as the backend
// knows it, or the frame is dropped, and the queue goes on.
func TestHeaders(t *testing.T) {
	const size = 3000
	long := pattern(size, 0)
	long[34+12] = 8 << 4 // the TCP header's size, in words
	tcp := hdr{1, 1, 66, 1448, 34, 16}
	segment := func(change func(*hdr)) hdr {
		h := tcp
		change(&h)
		return h
	}
	tcp4 := netframe.Offload{NeedsChecksum: true, ChecksumStart: 34, ChecksumOffset: 16, Segment: netframe.TCP4, SegmentSize: 1448, HeaderLen: 66}
	tcp6 := tcp4
	tcp6.Segment = netframe.TCP6
	for name, c := range map[string]struct {
		features uint64
		header   hdr
		want     *netframe.Offload // nil: dropped
	}{
		"plain":             {0, hdr{}, &netframe.Offload{}},
		"checked":           {all, hdr{flags: 2, start: 5000}, &netframe.Offload{}},
		"checksum":          {csum, hdr{flags: 1, start: 34, offset: 6}, &netframe.Offload{NeedsChecksum: true, ChecksumStart: 34, ChecksumOffset: 6}},
		"checksum at end":   {csum, hdr{flags: 1, start: size - 8, offset: 6}, &netframe.Offload{NeedsChecksum: true, ChecksumStart: size - 8, ChecksumOffset: 6}},
		"tcp4":              {csum | hostTSO4, tcp, &tcp4},
		"tcp4 with ecn":     {all, segment(func(h *hdr) { h.gso |= 0x80 }), &tcp4},
		"tcp6":              {csum | hostTSO6, segment(func(h *hdr) { h.gso = 4 }), &tcp6},
		"no header length":  {all, segment(func(h *hdr) { h.hdrLen = 0 }), &tcp4},
		"all linear":        {all, segment(func(h *hdr) { h.hdrLen = size }), &tcp4},
		"udp":               {csum | hostUSO, hdr{1, 5, 42, 1000, 34, 6}, &netframe.Offload{NeedsChecksum: true, ChecksumStart: 34, ChecksumOffset: 6, Segment: netframe.UDP, SegmentSize: 1000, HeaderLen: 42}},
		"checksum beyond":   {all, hdr{flags: 1, start: size - 8, offset: 7}, nil},
		"checksum wraps":    {all, hdr{flags: 1, start: 0xffff, offset: 0xffff}, nil},
		"no checksum":       {^uint64(csum), hdr{flags: 1, start: 34, offset: 6}, nil},
		"no tso4":           {^uint64(hostTSO4), tcp, nil},
		"no tso6":           {^uint64(hostTSO6), segment(func(h *hdr) { h.gso = 4 }), nil},
		"no uso":            {^uint64(hostUSO), hdr{1, 5, 42, 1000, 34, 6}, nil},
		"no ecn":            {^uint64(hostECN), segment(func(h *hdr) { h.gso |= 0x80 }), nil},
		"udp with ecn":      {all, hdr{1, 0x85, 42, 1000, 34, 6}, nil},
		"ecn alone":         {all, segment(func(h *hdr) { h.gso = 0x80 }), nil},
		"fragments":         {all, segment(func(h *hdr) { h.gso = 3 }), nil},
		"unknown":           {all, segment(func(h *hdr) { h.gso = 2 }), nil},
		"filled in":         {all, segment(func(h *hdr) { h.flags = 0 }), nil},
		"empty pieces":      {all, segment(func(h *hdr) { h.gsoSize = 0 }), nil},
		"another checksum":  {all, segment(func(h *hdr) { h.offset = 6 }), nil},
		"headers beyond":    {all, segment(func(h *hdr) { h.start = size - 18 }), nil},
		"hdr_len beyond":    {all, segment(func(h *hdr) { h.hdrLen = size + 1 }), nil},
		"datagram's beyond": {all, hdr{1, 5, 42, 1000, size - 7, 6}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d, dev, w := start(t, c.features)
			d.Queue(transmitq).Do(append(append(c.header.bytes(), 0, 0), long...), 0)
			if c.want == nil {
				if n := dev.Counters().TxDropped; n != 1 || len(w.sent) > 0 {
					t.Fatalf("%d dropped, %d sent", n, len(w.sent))
				}
			} else if len(w.sent) != 1 || w.sent[0].Offload != *c.want || !bytes.Equal(w.sent[0].Parts[0], long) {
				t.Fatalf("sent %+v, want %+v", w.sent, c.want)
			}
			w.sent = nil
			d.Queue(transmitq).Do(append(make([]byte, 12), long...), 0)
			if len(w.sent) != 1 {
				t.Error("the next frame is not sent")
			}
		})
	}
}

// TestSizes: what is no frame by its size is dropped.
func TestSizes(t *testing.T) {
	for n, ok := range map[int]bool{0: false, 13: false, 14: true, netframe.MaxSize: true, netframe.MaxSize + 1: false, 1 << 20: false} {
		d, dev, w := start(t, all)
		d.Queue(transmitq).Do(make([]byte, 12+n), 0)
		if (len(w.sent) == 1) != ok || (dev.Counters().TxDropped == 0) != ok {
			t.Errorf("a frame of %d bytes: %d sent, %+v", n, len(w.sent), dev.Counters())
		}
	}
}
