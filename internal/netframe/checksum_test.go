package netframe_test

import (
	"bytes"
	"testing"

	"github.com/holtvm/holt/internal/netframe"
)

func TestChecksum(t *testing.T) {
	for payload := range 40 {
		for _, p := range []packet{{payload: payload}, {payload: payload, v6: true}, {payload: payload, udp: true}, {payload: 60000 + payload, udp: true, v6: true}} {
			b := p.bytes()
			o := netframe.Offload{NeedsChecksum: true, ChecksumStart: uint16(p.transport()), ChecksumOffset: uint16(p.checksum())}
			if err := netframe.Checksum(b, o); err != nil {
				t.Fatal(err)
			}
			transport := b[p.transport():]
			if s := refSum(pseudo(b, p.protocol(), len(transport)), transport); s != 0xffff {
				t.Errorf("%+v: the sum is %#x", p, s)
			}
			at := p.transport() + p.checksum()
			clear(b[at : at+2])
			want := p.bytes()
			clear(want[at : at+2])
			if !bytes.Equal(b, want) {
				t.Errorf("%+v: something else changed", p)
			}
		}
	}
}

// TestChecksumIsNotZero: zero would mean that there is none.
func TestChecksumIsNotZero(t *testing.T) {
	b := []byte{0xff, 0xff, 0, 0}
	if err := netframe.Checksum(b, netframe.Offload{NeedsChecksum: true, ChecksumOffset: 2}); err != nil || !bytes.Equal(b, []byte{0xff, 0xff, 0xff, 0xff}) {
		t.Errorf("%x, %v", b, err)
	}
}

func TestChecksumOutside(t *testing.T) {
	for _, o := range []netframe.Offload{
		{ChecksumStart: 63}, {ChecksumStart: 0xffff}, {ChecksumStart: 14, ChecksumOffset: 49}, {ChecksumStart: 0xffff, ChecksumOffset: 0xffff},
	} {
		b := make([]byte, 64)
		if err := netframe.Checksum(b, o); err == nil || !bytes.Equal(b, make([]byte, 64)) {
			t.Errorf("%+v: %v, %x", o, err, b)
		}
	}
}

func TestAppend(t *testing.T) {
	f := netframe.Frame{Parts: [][]byte{[]byte("ab"), nil, []byte("cde")}}
	if got := f.Append([]byte("x")); string(got) != "xabcde" || f.Len() != 5 {
		t.Errorf("%q, %d", got, f.Len())
	}
}
