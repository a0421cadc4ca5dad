package acpi

import (
	"encoding/binary"
	"slices"
)

// Encodings of the ACPI Machine Language (ACPI 6.4, 20.2 and 20.3). Each function
// returns one term. A name is four characters, filled up with underscores, with a
// backslash before them when it is looked up from the root: so spelt, it is its
// own encoding.
const (
	opZero     = 0x00
	opOne      = 0x01
	opName     = 0x08
	opByte     = 0x0a
	opWord     = 0x0b
	opDWord    = 0x0c
	opString   = 0x0d
	opQWord    = 0x0e
	opScope    = 0x10
	opBuffer   = 0x11
	opPackage  = 0x12
	opMethod   = 0x14
	opExt      = 0x5b
	opArg0     = 0x68
	opNotify   = 0x86
	opLEqual   = 0x93
	opIf       = 0xa0
	extDevice  = 0x82
	maxPkgLen1 = 1<<6 - 1 // what a package length of one byte can say,
	maxPkgLen2 = 1<<12 - 1
	maxPkgLen3 = 1<<20 - 1
)

// pkgLength returns the encoding of the length of a package of n bytes, which
// counts its own one to four bytes. n is below 1<<28-4.
func pkgLength(n int) []byte {
	// Bits 6 and 7 of the first byte count the bytes that follow.
	switch {
	case n+1 <= maxPkgLen1:
		return []byte{uint8(n + 1)}
	case n+2 <= maxPkgLen2:
		n += 2
		return []byte{1<<6 | uint8(n&0xf), uint8(n >> 4)}
	case n+3 <= maxPkgLen3:
		n += 3
		return []byte{2<<6 | uint8(n&0xf), uint8(n >> 4), uint8(n >> 12)}
	default:
		n += 4
		return []byte{3<<6 | uint8(n&0xf), uint8(n >> 4), uint8(n >> 12), uint8(n >> 20)}
	}
}

// sized returns the parts behind their length.
func sized(parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	return append(pkgLength(len(body)), body...)
}

func scope(name string, terms ...[]byte) []byte {
	return append([]byte{opScope}, sized([]byte(name), slices.Concat(terms...))...)
}

func device(name string, terms ...[]byte) []byte {
	return append([]byte{opExt, extDevice}, sized([]byte(name), slices.Concat(terms...))...)
}

func method(name string, args uint8, terms ...[]byte) []byte {
	return append([]byte{opMethod}, sized([]byte(name), []byte{args}, slices.Concat(terms...))...)
}

func named(name string, value []byte) []byte {
	return slices.Concat([]byte{opName}, []byte(name), value)
}

func notify(name string, value uint64) []byte {
	return slices.Concat([]byte{opNotify}, []byte(name), integer(value))
}

func ifArg0Equals(value uint32, terms ...[]byte) []byte {
	equal := append([]byte{opLEqual, opArg0}, integer(uint64(value))...)
	return append([]byte{opIf}, sized(equal, slices.Concat(terms...))...)
}

// packageOf returns a package of up to 255 elements.
func packageOf(elements ...[]byte) []byte {
	return append([]byte{opPackage}, sized([]byte{uint8(len(elements))}, slices.Concat(elements...))...)
}

func buffer(data []byte) []byte {
	return append([]byte{opBuffer}, sized(integer(uint64(len(data))), data)...)
}

// integer returns the shortest encoding of v.
func integer(v uint64) []byte {
	le := binary.LittleEndian
	switch {
	case v == 0:
		return []byte{opZero}
	case v == 1:
		return []byte{opOne}
	case v < 1<<8:
		return []byte{opByte, uint8(v)}
	case v < 1<<16:
		return le.AppendUint16([]byte{opWord}, uint16(v))
	case v < 1<<32:
		return le.AppendUint32([]byte{opDWord}, uint32(v))
	default:
		return le.AppendUint64([]byte{opQWord}, v)
	}
}

// text returns a string of ASCII characters other than NUL.
func text(s string) []byte {
	return slices.Concat([]byte{opString}, []byte(s), []byte{0})
}
