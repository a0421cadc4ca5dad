package netframe

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

var be = binary.BigEndian

// Append appends the frame's bytes to buf.
func (f Frame) Append(buf []byte) []byte {
	for _, p := range f.Parts {
		buf = append(buf, p...)
	}
	return buf
}

// Checksum fills in the transport checksum of a whole frame that needs one: o says
// where. An error says that this is not inside the frame.
func Checksum(frame []byte, o Offload) error {
	start := int(o.ChecksumStart)
	at := start + int(o.ChecksumOffset)
	if at+2 > len(frame) {
		return fmt.Errorf("a checksum at %d+%d in a frame of %d bytes", start, o.ChecksumOffset, len(frame))
	}
	// The field holds the pseudo-header's sum, which goes into the sum like data.
	put(frame[at:], sum(frame[start:]))
	return nil
}

// put stores the checksum for a sum. A field of 0 would mean in UDP that there is
// none; the other zero is equal to it in every protocol (RFC 768).
func put(field []byte, s uint16) {
	check := ^s
	if check == 0 {
		check = 0xffff
	}
	be.PutUint16(field, check)
}

// sum is the Internet checksum's ones' complement sum of b (RFC 1071).
func sum(b []byte) uint16 {
	var s, carry uint64
	for len(b) >= 8 {
		s, carry = bits.Add64(s, be.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		s, carry = bits.Add64(s, be.Uint64(last[:]), carry)
	}
	s, carry = bits.Add64(s, 0, carry)
	return fold(s + carry)
}

// fold adds up the 16-bit words of s, carries included.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}
