package net

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/holtvm/holt/internal/netframe"
)

// headerLen is the size of struct virtio_net_hdr, of virtio 1.0 and later
// (virtio 1.2, 5.1.6).
const headerLen = 12

// Flags and kinds of segmentation (virtio 1.2, 5.1.6).
const (
	flagNeedsCsum = 1
	flagDataValid = 2

	gsoNone  = 0
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoUDPL4 = 5
	gsoECN   = 0x80
)

// header is struct virtio_net_hdr.
type header struct {
	flags, gsoType        byte
	hdrLen, gsoSize       uint16 // bytes
	csumStart, csumOffset uint16 // bytes
	numBuffers            uint16
}

func parseHeader(b *[headerLen]byte) header {
	le := binary.LittleEndian
	return header{
		flags:      b[0],
		gsoType:    b[1],
		hdrLen:     le.Uint16(b[2:]),
		gsoSize:    le.Uint16(b[4:]),
		csumStart:  le.Uint16(b[6:]),
		csumOffset: le.Uint16(b[8:]),
		numBuffers: le.Uint16(b[10:]),
	}
}

func (h *header) encode(b *[headerLen]byte) {
	le := binary.LittleEndian
	b[0], b[1] = h.flags, h.gsoType
	le.PutUint16(b[2:], h.hdrLen)
	le.PutUint16(b[4:], h.gsoSize)
	le.PutUint16(b[6:], h.csumStart)
	le.PutUint16(b[8:], h.csumOffset)
	le.PutUint16(b[10:], h.numBuffers)
}

// Transport headers (RFC 9293, 768), in bytes.
const (
	tcpHeader   = 20
	tcpDataOff  = 12
	tcpChecksum = 16
	udpHeader   = 8
	udpChecksum = 6
)

// offload is what a guest that accepted features says in h about a frame. An error
// says that it must not say so (virtio 1.2, 5.1.6.2.1).
func (h *header) offload(features uint64, parts [][]byte) (o netframe.Offload, err error) {
	size := length(parts)
	if h.flags&flagNeedsCsum == 0 {
		if h.gsoType != gsoNone {
			return o, errors.New("a large segment with its checksum filled in")
		}
		return o, nil
	}
	if features&featureCsum == 0 {
		return o, errors.New("an unfilled checksum, which was not accepted")
	}
	if at := int(h.csumStart) + int(h.csumOffset); at+2 > size {
		return o, fmt.Errorf("a checksum at %d in a frame of %d bytes", at, size)
	}
	o = netframe.Offload{NeedsChecksum: true, ChecksumStart: h.csumStart, ChecksumOffset: h.csumOffset}
	if h.gsoType == gsoNone {
		return o, nil
	}
	return h.segment(features, parts, size, o)
}

// segment adds to o how the frame, of size bytes, is to be cut. The headers' length
// is taken from the headers: what h says of it is a hint (5.1.6.2), and Linux puts
// more into it.
func (h *header) segment(features uint64, parts [][]byte, size int, o netframe.Offload) (netframe.Offload, error) {
	var accepted bool
	headers, checksum := int(h.csumStart), uint16(tcpChecksum)
	kind := h.gsoType &^ gsoECN
	switch kind {
	case gsoTCPv4:
		o.Segment, accepted = netframe.TCP4, features&featureHostTSO4 != 0
	case gsoTCPv6:
		o.Segment, accepted = netframe.TCP6, features&featureHostTSO6 != 0
	case gsoUDPL4:
		o.Segment, accepted = netframe.UDP, features&featureHostUSO != 0
		headers, checksum = headers+udpHeader, udpChecksum
	}
	if o.Segment != netframe.UDP {
		headers += max(tcpHeader, int(byteAt(parts, headers+tcpDataOff)>>4)*4)
	}
	switch ecn := h.gsoType&gsoECN != 0; {
	case !accepted || ecn && (kind == gsoUDPL4 || features&featureHostECN == 0):
		return o, fmt.Errorf("segmentation %#x, which was not accepted", h.gsoType)
	case h.gsoSize == 0 || h.csumOffset != checksum:
		return o, fmt.Errorf("segmentation %#x with pieces of %d bytes and a checksum at %d", h.gsoType, h.gsoSize, h.csumOffset)
	case headers > size || int(h.hdrLen) > size:
		return o, fmt.Errorf("headers of %d bytes, said to be %d, in a frame of %d", headers, h.hdrLen, size)
	}
	o.SegmentSize, o.HeaderLen = h.gsoSize, uint16(headers)
	return o, nil
}

// byteAt is the byte at an offset, 0 beyond the end.
func byteAt(parts [][]byte, off int) byte {
	for _, p := range parts {
		if off < len(p) {
			return p[off]
		}
		off -= len(p)
	}
	return 0
}

func length(parts [][]byte) int { return netframe.Frame{Parts: parts}.Len() }
