package netframe_test

import "encoding/binary"

var be = binary.BigEndian

// refSum is the Internet checksum's sum as RFC 1071 writes it in its first example.
func refSum(parts ...[]byte) uint16 {
	var s uint32
	for _, b := range parts { // all but the last of even length
		for i, v := range b {
			s += uint32(v) << (8 * (1 - i%2))
			s = s>>16 + s&0xffff
		}
	}
	return uint16(s)
}

// pseudo is the pseudo-header of the packet in a frame with n bytes of transport
// header and payload (RFC 9293, 3.1; RFC 8200, 8.1).
func pseudo(frame []byte, protocol byte, n int) []byte {
	addresses := frame[26:34]
	if be.Uint16(frame[12:]) == 0x86dd {
		addresses = frame[22:54]
	}
	p := append([]byte(nil), addresses...)
	p = be.AppendUint32(p, uint32(n))
	return be.AppendUint32(p, uint32(protocol))
}

// packet describes a segment that is to be cut.
type packet struct {
	v6        bool
	udp       bool
	ipOptions int // bytes of IPv4 options or IPv6 extension headers
	options   int // bytes of TCP options
	flags     byte
	payload   int
}

func (p packet) protocol() byte {
	if p.udp {
		return 17
	}
	return 6
}

// transport is where the transport header begins, headers where the payload does,
// and checksum where in the former its checksum is.
func (p packet) transport() int {
	if p.v6 {
		return 14 + 40 + p.ipOptions
	}
	return 14 + 20 + p.ipOptions
}

func (p packet) headers() int {
	if p.udp {
		return p.transport() + 8
	}
	return p.transport() + 20 + p.options
}

func (p packet) checksum() int {
	if p.udp {
		return 6
	}
	return 16
}

// bytes is the packet in a frame, its checksum unfilled.
func (p packet) bytes() []byte {
	b := make([]byte, p.headers()+p.payload)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	ip, t := b[14:p.transport()], b[p.transport():]
	if p.v6 {
		be.PutUint16(b[12:], 0x86dd)
		ip[0] = 0x60
		be.PutUint16(ip[4:], uint16(len(b)-54))
	} else {
		be.PutUint16(b[12:], 0x0800)
		ip[0], ip[9] = byte(0x40|len(ip)/4), p.protocol()
		be.PutUint16(ip[2:], uint16(len(b)-14))
		be.PutUint16(ip[10:], 0)
		be.PutUint16(ip[10:], ^refSum(ip))
	}
	if p.udp {
		be.PutUint16(t[4:], uint16(len(t)))
	} else {
		t[12], t[13] = byte((20+p.options)/4)<<4, p.flags
	}
	be.PutUint16(t[p.checksum():], refSum(pseudo(b, p.protocol(), len(t))))
	return b
}
