package usernet

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/usernet/policy"
)

// FuzzTransmit sends any frame into a network that reaches nothing but itself.
func FuzzTransmit(f *testing.F) {
	config := testConfig()
	config.Policy = policy.New(policy.ModeNone, nil, policy.Options{})
	config.DNS = upperCase{}
	g := newGuest(f, config)
	frames := g.listen()
	go func() {
		for range frames {
		}
	}()
	dst, dst6 := netip.MustParseAddrPort("10.0.2.1:53"), netip.MustParseAddrPort("[fd68:6f6c:7400::1]:99")
	for _, frame := range [][]byte{
		g.arp("10.0.2.15", "10.0.2.1"),
		g.solicit("fe80::1", "fd68:6f6c:7400::1"),
		g.ping("10.0.2.15", "10.0.2.1", 8),
		g.ping("fd68:6f6c:7400::a00:20f", "fd68:6f6c:7400::1", 8),
		g.ping("10.0.2.15", "192.0.2.1", 8),
		bytes.Join(g.datagram(dst, []byte("hello"), noOffload).Parts, nil),
		bytes.Join(g.datagram(dst6, []byte("hello"), noOffload).Parts, nil),
		g.syn(1000, dst),
		g.syn(1000, netip.MustParseAddrPort("192.0.2.1:80")),
		{},
	} {
		f.Add(frame, uint8(0), uint16(0), uint16(20))
		f.Add(frame, uint8(netframe.UDP), uint16(1), uint16(0))
	}
	f.Fuzz(func(t *testing.T, frame []byte, segment uint8, size, cut uint16) {
		at := min(int(cut), len(frame))
		g.network.Transmit(netframe.Frame{
			Parts: [][]byte{frame[:at], frame[at:]},
			Offload: netframe.Offload{
				NeedsChecksum: segment != 0, ChecksumStart: cut, ChecksumOffset: size,
				Segment: netframe.Segmentation(segment % 4), SegmentSize: size, HeaderLen: cut,
			},
		})
	})
}
