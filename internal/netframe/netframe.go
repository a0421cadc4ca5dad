// Package netframe is what a network card and the network behind it hand each
// other: an Ethernet frame, and what of it is left to do. Either side may leave a
// checksum unfilled and a large segment uncut, because the other does not need
// them or is cheaper at them.
package netframe

// Limits of a frame.
const (
	// HeaderSize is the size of an Ethernet header without VLAN tag, in bytes.
	HeaderSize = 14
	// MaxSize is the largest frame, in bytes: an IP packet of 65,535 bytes, or an
	// IPv6 one with as much payload, behind its header.
	MaxSize = HeaderSize + 40 + 65535
)

// Frame is an Ethernet frame, without preamble and check sequence.
type Frame struct {
	// Parts are its bytes in order. A frame that a guest sends is guest memory,
	// which changes at any moment: copy it before looking at it, and do not keep
	// it beyond the call.
	Parts [][]byte
	Offload
}

// Offload is what the sender of a frame left to do. The zero value is nothing.
type Offload struct {
	// NeedsChecksum says that the transport checksum covers the bytes from
	// ChecksumStart on and belongs ChecksumOffset bytes behind there, where so far
	// only the pseudo-header's sum is.
	NeedsChecksum                 bool
	ChecksumStart, ChecksumOffset uint16 // bytes
	// Segment says how the frame must be cut before it goes to a real network;
	// SegmentSize is the payload of each piece, and HeaderLen what all pieces have
	// in front of it, both in bytes.
	Segment                Segmentation
	SegmentSize, HeaderLen uint16
}

// Segmentation is a kind of large segment.
type Segmentation uint8

// The kinds of large segment.
const (
	NoSegments Segmentation = iota
	TCP4                    // TCP over IPv4
	TCP6                    // TCP over IPv6
	UDP                     // UDP over either: each piece is a datagram
)

// Len is the frame's length in bytes.
func (f Frame) Len() int {
	n := 0
	for _, p := range f.Parts {
		n += len(p)
	}
	return n
}
