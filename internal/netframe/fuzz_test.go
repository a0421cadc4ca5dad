package netframe_test

import (
	"bytes"
	"testing"

	"github.com/holtvm/holt/internal/netframe"
)

// FuzzChecksum: what can be filled in makes the sum right, whatever is summed up.
func FuzzChecksum(f *testing.F) {
	f.Add(packet{payload: 33}.bytes(), uint16(34), uint16(16))
	f.Add([]byte{0, 0, 0}, uint16(1), uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, start, offset uint16) {
		before := bytes.Clone(b)
		err := netframe.Checksum(b, netframe.Offload{NeedsChecksum: true, ChecksumStart: start, ChecksumOffset: offset})
		at := int(start) + int(offset)
		if (err == nil) != (at+2 <= len(b)) {
			t.Fatalf("a checksum at %d of %d: %v", at, len(b), err)
		}
		if err != nil {
			return
		}
		want := ^refSum(before[start:])
		if want == 0 {
			want = 0xffff
		}
		if got := be.Uint16(b[at:]); got != want {
			t.Fatalf("%#x, want %#x", got, want)
		}
	})
}

// FuzzSegment: what can be cut has pieces with all of the payload, in order, none
// larger than it may be, and each with sums that are as right as the whole's.
func FuzzSegment(f *testing.F) {
	for kind, p := range []packet{{}, {payload: 3000, options: 12}, {payload: 300, v6: true}, {payload: 300, udp: true}, {payload: 300, udp: true, v6: true}} {
		f.Add(p.bytes(), byte(p.offload(100).Segment), uint16(p.transport()), uint16(p.checksum()), uint16(p.headers()), uint16(100+kind))
	}
	f.Fuzz(func(t *testing.T, b []byte, kind byte, start, offset, headers, size uint16) {
		o := netframe.Offload{
			NeedsChecksum: true, ChecksumStart: start, ChecksumOffset: offset,
			Segment: netframe.Segmentation(kind), SegmentSize: size, HeaderLen: headers,
		}
		whole := bytes.Clone(b)
		pieces, err := netframe.Segment(b, o)
		if err != nil {
			return
		}
		var payload []byte
		for piece := pieces.Next(); piece != nil; piece = pieces.Next() {
			if len(piece) < int(headers) || len(piece) > int(headers)+int(size) {
				t.Fatalf("a piece of %d bytes, %d of them headers", len(piece), headers)
			}
			payload = append(payload, piece[headers:]...)
			if be.Uint16(piece[12:]) == 0x0800 && refSum(piece[14:start]) != 0xffff {
				t.Fatal("a wrong IPv4 checksum")
			}
			// The pseudo-header's sum is the whole's, but for the length.
			var lengths [4]byte
			be.PutUint16(lengths[0:], ^uint16(len(whole)-int(start)))
			be.PutUint16(lengths[2:], uint16(len(piece)-int(start)))
			partial := whole[int(start)+int(offset):][:2]
			if s := refSum(partial, lengths[:], piece[start:]); s != 0xffff {
				t.Fatalf("a wrong checksum: %#x", s)
			}
		}
		if !bytes.Equal(payload, whole[headers:]) {
			t.Fatal("the payload is not the whole's")
		}
	})
}
