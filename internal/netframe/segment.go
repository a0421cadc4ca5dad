package netframe

import (
	"errors"
	"fmt"
)

// Fields of the headers that pieces differ in, in bytes from their header's start
// (RFC 791, 8200, 9293, 768).
const (
	etherType     = 12
	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd

	ipv4Length   = 2
	ipv4ID       = 4
	ipv4Protocol = 9
	ipv4Checksum = 10
	ipv4Header   = 20

	ipv6Length = 4
	ipv6Header = 40

	tcpSeq      = 4
	tcpDataOff  = 12
	tcpFlags    = 13
	tcpChecksum = 16
	tcpHeader   = 20
	tcpFIN      = 0x01
	tcpPSH      = 0x08
	tcpCWR      = 0x80

	udpLength   = 4
	udpChecksum = 6
	udpHeader   = 8

	protocolTCP = 6
	protocolUDP = 17
)

// maxHeader bounds the headers of a large segment, in bytes: Ethernet, IPv4 and TCP
// take up to 134, and IPv6 may have extensions.
const maxHeader = 256

// Pieces are what a large segment is cut into: frames with nothing left to do.
type Pieces struct {
	frame      []byte
	o          Offload
	transport  int    // where its header starts
	partial    uint16 // the pseudo-header's sum without the length
	done       int    // bytes of payload in the pieces so far
	started    bool
	header     [maxHeader]byte // as the segment had it; o.HeaderLen bytes
	headerSize int
}

// Segment cuts a whole frame as o says, which must be a large segment with its
// checksum unfilled. The pieces are made inside frame, which is lost. An error says
// that the frame is not what o says.
func Segment(frame []byte, o Offload) (Pieces, error) {
	p := Pieces{frame: frame, o: o, transport: int(o.ChecksumStart), headerSize: int(o.HeaderLen)}
	if err := p.check(); err != nil {
		return Pieces{}, fmt.Errorf("cut a frame of %d bytes: %w", len(frame), err)
	}
	copy(p.header[:], frame[:p.headerSize])
	field := p.header[p.transport+int(o.ChecksumOffset):]
	p.partial = fold(uint64(be.Uint16(field)) + uint64(^fold(uint64(len(frame)-p.transport))))
	return p, nil
}

// check reports why the frame is no such segment.
func (p *Pieces) check() error {
	if p.o.SegmentSize == 0 || !p.o.NeedsChecksum {
		return errors.New("no size of pieces, or no checksum to fill in")
	}
	if p.headerSize > min(len(p.frame), maxHeader) || len(p.frame) > MaxSize {
		return fmt.Errorf("headers of %d bytes", p.headerSize)
	}
	if err := p.checkNetwork(); err != nil {
		return err
	}
	h := p.frame[p.transport:p.headerSize]
	size, offset := udpHeader, udpChecksum
	if p.o.Segment != UDP {
		if len(h) < tcpHeader {
			return fmt.Errorf("a TCP header of %d bytes", len(h))
		}
		size, offset = max(tcpHeader, int(h[tcpDataOff]>>4)*4), tcpChecksum
	}
	if len(h) != size || int(p.o.ChecksumOffset) != offset {
		return fmt.Errorf("a transport header of %d bytes, not %d, with its checksum at %d", len(h), size, p.o.ChecksumOffset)
	}
	return nil
}

// checkNetwork is the part of check that concerns the IP header.
func (p *Pieces) checkNetwork() error {
	if p.transport < HeaderSize+ipv4Header || p.transport > p.headerSize {
		return fmt.Errorf("a transport header at %d", p.transport)
	}
	ip := p.frame[HeaderSize:p.transport]
	switch t := be.Uint16(p.frame[etherType:]); {
	case t == etherTypeIPv4 && (p.o.Segment == TCP4 || p.o.Segment == UDP):
		protocol := byte(protocolTCP)
		if p.o.Segment == UDP {
			protocol = protocolUDP
		}
		if ip[0]>>4 != 4 || int(ip[0]&0xf)*4 != len(ip) || ip[ipv4Protocol] != protocol {
			return fmt.Errorf("no IPv4 header of %d bytes, or not of protocol %d", len(ip), protocol)
		}
	case t == etherTypeIPv6 && (p.o.Segment == TCP6 || p.o.Segment == UDP):
		if ip[0]>>4 != 6 || len(ip) < ipv6Header {
			return fmt.Errorf("no IPv6 header in %d bytes", len(ip))
		}
	default:
		return fmt.Errorf("a packet of type %#x for segmentation %d", t, p.o.Segment)
	}
	return nil
}

// Next returns the next piece, or nil after the last. It is valid until the next
// call.
func (p *Pieces) Next() []byte {
	at := p.headerSize + p.done
	left := len(p.frame) - at
	if left <= 0 && p.started {
		return nil
	}
	n := min(left, int(p.o.SegmentSize))
	// What the headers overwrite was in the piece before.
	piece := p.frame[at-p.headerSize : at+n]
	copy(piece, p.header[:p.headerSize])
	p.fixNetwork(piece)
	p.fixTransport(piece, n == left)
	p.done += n
	p.started = true
	return piece
}

// fixNetwork makes the IP header that of a piece.
func (p *Pieces) fixNetwork(piece []byte) {
	ip := piece[HeaderSize:p.transport]
	if be.Uint16(piece[etherType:]) == etherTypeIPv6 {
		be.PutUint16(ip[ipv6Length:], uint16(len(piece)-HeaderSize-ipv6Header))
		return
	}
	index := p.done / int(p.o.SegmentSize)
	be.PutUint16(ip[ipv4Length:], uint16(len(piece)-HeaderSize))
	be.PutUint16(ip[ipv4ID:], be.Uint16(ip[ipv4ID:])+uint16(index))
	be.PutUint16(ip[ipv4Checksum:], 0)
	be.PutUint16(ip[ipv4Checksum:], ^sum(ip))
}

// fixTransport makes the TCP or UDP header that of a piece.
func (p *Pieces) fixTransport(piece []byte, last bool) {
	h := piece[p.transport:]
	if p.o.Segment == UDP {
		be.PutUint16(h[udpLength:], uint16(len(h)))
	} else {
		be.PutUint32(h[tcpSeq:], be.Uint32(h[tcpSeq:])+uint32(p.done))
		if !last {
			h[tcpFlags] &^= tcpFIN | tcpPSH
		}
		if p.started {
			h[tcpFlags] &^= tcpCWR // said once (RFC 3168, 6.1.2)
		}
	}
	check := h[p.o.ChecksumOffset:]
	be.PutUint16(check, fold(uint64(p.partial)+uint64(len(h))))
	put(check, sum(h))
}
