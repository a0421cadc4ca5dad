package netframe_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/holtvm/holt/internal/netframe"
)

const (
	fin = 0x01
	psh = 0x08
	ack = 0x10
	cwr = 0x80
)

func (p packet) offload(size int) netframe.Offload {
	o := netframe.Offload{
		NeedsChecksum: true, ChecksumStart: uint16(p.transport()), ChecksumOffset: uint16(p.checksum()),
		Segment: netframe.TCP4, SegmentSize: uint16(size), HeaderLen: uint16(p.headers()),
	}
	switch {
	case p.udp:
		o.Segment = netframe.UDP
	case p.v6:
		o.Segment = netframe.TCP6
	}
	return o
}

// cut returns copies of the pieces.
func cut(t *testing.T, b []byte, o netframe.Offload) (pieces [][]byte) {
	t.Helper()
	p, err := netframe.Segment(b, o)
	if err != nil {
		t.Fatal(err)
	}
	for piece := p.Next(); piece != nil; piece = p.Next() {
		pieces = append(pieces, bytes.Clone(piece))
	}
	if p.Next() != nil {
		t.Error("a piece after the last")
	}
	return pieces
}

func TestSegment(t *testing.T) {
	for _, p := range []packet{
		{flags: ack | psh | fin | cwr},
		{flags: ack, options: 12},
		{flags: ack, options: 40, ipOptions: 40},
		{flags: ack | psh, v6: true, options: 12},
		{flags: ack | psh, v6: true, ipOptions: 24},
		{udp: true},
		{udp: true, ipOptions: 8},
		{udp: true, v6: true, ipOptions: 8},
	} {
		for _, c := range []struct{ payload, size int }{{0, 1}, {1, 1}, {7, 3}, {1000, 1000}, {1001, 1000}, {4380, 1460}, {65000, 1448}, {65000, 9}, {65000, 65000}, {300, 65535}} {
			p.payload = c.payload
			t.Run(fmt.Sprintf("%+v %d", p, c.size), func(t *testing.T) {
				whole := p.bytes()
				want := max(1, (c.payload+c.size-1)/c.size)
				pieces := cut(t, p.bytes(), p.offload(c.size))
				if len(pieces) != want {
					t.Fatalf("%d pieces, want %d", len(pieces), want)
				}
				for i, piece := range pieces {
					checkPiece(t, p, whole, piece, i, len(pieces), c.size)
				}
			})
		}
	}
}

// checkPiece builds piece i of n from the description and compares.
func checkPiece(t *testing.T, p packet, whole, piece []byte, i, n, size int) {
	t.Helper()
	from := p.headers() + i*size
	data := whole[from:min(from+size, len(whole))]
	want := append(bytes.Clone(whole[:p.headers()]), data...)
	ip, h := want[14:], want[p.transport():]
	if p.v6 {
		be.PutUint16(ip[4:], uint16(len(want)-54))
	} else {
		be.PutUint16(ip[2:], uint16(len(want)-14))
		be.PutUint16(ip[4:], be.Uint16(whole[18:])+uint16(i))
		be.PutUint16(ip[10:], 0)
		be.PutUint16(ip[10:], ^refSum(want[14:p.transport()]))
	}
	if p.udp {
		be.PutUint16(h[4:], uint16(len(h)))
	} else {
		be.PutUint32(h[4:], be.Uint32(h[4:])+uint32(i*size))
		if i < n-1 {
			h[13] &^= fin | psh
		}
		if i > 0 {
			h[13] &^= cwr
		}
	}
	be.PutUint16(h[p.checksum():], 0)
	check := ^refSum(pseudo(want, p.protocol(), len(h)), h)
	if check == 0 {
		check = 0xffff
	}
	be.PutUint16(h[p.checksum():], check)
	if !bytes.Equal(piece, want) {
		t.Fatalf("piece %d of %d is\n%x\nwant\n%x", i, n, piece[:min(len(piece), 100)], want[:min(len(want), 100)])
	}
}

func TestSegmentRefuses(t *testing.T) {
	tcp4, tcp6, udp := packet{payload: 3000}, packet{payload: 3000, v6: true}, packet{payload: 3000, udp: true}
	for name, c := range map[string]struct {
		packet packet
		change func(b []byte, o *netframe.Offload)
	}{
		"nothing to cut":       {tcp4, func(_ []byte, o *netframe.Offload) { o.Segment = netframe.NoSegments }},
		"unknown":              {tcp4, func(_ []byte, o *netframe.Offload) { o.Segment = 9 }},
		"no size":              {tcp4, func(_ []byte, o *netframe.Offload) { o.SegmentSize = 0 }},
		"checksum filled in":   {tcp4, func(_ []byte, o *netframe.Offload) { o.NeedsChecksum = false }},
		"another version":      {tcp4, func(_ []byte, o *netframe.Offload) { o.Segment = netframe.TCP6 }},
		"another version too":  {tcp6, func(_ []byte, o *netframe.Offload) { o.Segment = netframe.TCP4 }},
		"another protocol":     {udp, func(_ []byte, o *netframe.Offload) { o.Segment = netframe.TCP4 }},
		"not IP":               {udp, func(b []byte, _ *netframe.Offload) { b[12] = 0x81 }},
		"version in header":    {tcp4, func(b []byte, _ *netframe.Offload) { b[14] = 0x65 }},
		"version 6 in header":  {tcp6, func(b []byte, _ *netframe.Offload) { b[14] = 0x45 }},
		"IP header longer":     {tcp4, func(b []byte, _ *netframe.Offload) { b[14]++ }},
		"TCP header longer":    {tcp4, func(b []byte, _ *netframe.Offload) { b[46] += 1 << 4 }},
		"headers longer":       {tcp4, func(_ []byte, o *netframe.Offload) { o.HeaderLen++ }},
		"headers shorter":      {tcp4, func(_ []byte, o *netframe.Offload) { o.HeaderLen-- }},
		"headers of UDP":       {udp, func(_ []byte, o *netframe.Offload) { o.HeaderLen++ }},
		"headers beyond":       {tcp4, func(_ []byte, o *netframe.Offload) { o.HeaderLen = 0xffff }},
		"transport beyond":     {tcp4, func(_ []byte, o *netframe.Offload) { o.ChecksumStart = 0xffff }},
		"transport before":     {tcp4, func(_ []byte, o *netframe.Offload) { o.ChecksumStart = 20 }},
		"IPv6 cut short":       {tcp6, func(_ []byte, o *netframe.Offload) { o.ChecksumStart, o.HeaderLen = 40, 60 }},
		"checksum elsewhere":   {tcp4, func(_ []byte, o *netframe.Offload) { o.ChecksumOffset = 6 }},
		"datagrams' elsewhere": {udp, func(_ []byte, o *netframe.Offload) { o.ChecksumOffset = 16 }},
	} {
		b, o := c.packet.bytes(), c.packet.offload(1000)
		if _, err := netframe.Segment(b, o); err != nil {
			t.Fatalf("%s: unchanged: %v", name, err)
		}
		c.change(b, &o)
		if _, err := netframe.Segment(b, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := netframe.Segment(make([]byte, 10), tcp4.offload(1000)); err == nil {
		t.Error("10 bytes: no error")
	}
}
