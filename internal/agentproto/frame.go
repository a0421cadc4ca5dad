package agentproto

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Type says what a frame carries.
type Type uint8

// Frames that the host sends.
const (
	// TypeSpec carries a BootSpec or, after an exec header line, a Program.
	TypeSpec Type = 1
	// TypeStdin carries bytes for the program's standard input, at most as
	// many as the agent has granted with TypeCredit.
	TypeStdin Type = 2
	// TypeStdinEOF ends the program's standard input.
	TypeStdinEOF Type = 3
	// TypeWinsize carries the terminal's new WindowSize.
	TypeWinsize Type = 4
	// TypeSignal carries the number of a signal for the program.
	TypeSignal Type = 5
	// TypeDetach leaves the program of an exec running without a connection; it is
	// the last frame that the host sends.
	TypeDetach Type = 6
)

// Frames that the agent sends.
const (
	// TypeStarted carries a Started: the program runs.
	TypeStarted Type = 17
	// TypeStdout carries bytes of the program's standard output or terminal.
	TypeStdout Type = 18
	// TypeStderr carries bytes of the program's standard error.
	TypeStderr Type = 19
	// TypeExit carries an Exit. It is the last frame: all output came before.
	TypeExit Type = 20
	// TypeError carries an Error. It is the last frame. The host sends it too,
	// in the place of a TypeSpec, to refuse an agent.
	TypeError Type = 21
	// TypeCredit carries the number of further bytes of standard input that
	// the agent takes.
	TypeCredit Type = 22
	// TypeStdinClosed says that the program closed its standard input: what
	// the host still sends is thrown away.
	TypeStdinClosed Type = 23
	// TypeOK answers an operation that has no other answer. It is the last
	// frame.
	TypeOK Type = 24
	// TypeReport carries one part of an answer, as JSON.
	TypeReport Type = 25
)

// Frames of files, which both ends send.
const (
	// TypeEntry carries an Entry, which says what comes next in a tree.
	TypeEntry Type = 32
	// TypeData carries bytes of a file.
	TypeData Type = 33
	// TypeEnd ends the data of a file, and after the last entry the tree.
	TypeEnd Type = 34
)

// Sender is one end of a connection, as the sender of frames.
type Sender uint8

// The two ends.
const (
	Host Sender = iota
	Agent
)

// lengths returns the least and greatest payload of a frame of type t sent by
// s, and whether s may send it at all.
func (s Sender) lengths(t Type) (least, most uint32, ok bool) {
	switch t {
	case TypeError:
		return 2, MaxReport, true
	case TypeEntry:
		return 2, MaxEntry, true
	case TypeData:
		return 1, MaxPayload, true
	case TypeEnd:
		return 0, 0, true
	}
	if s == Host {
		switch t {
		case TypeSpec:
			return 2, MaxSpec, true
		case TypeStdin:
			return 1, MaxPayload, true
		case TypeStdinEOF, TypeDetach:
			return 0, 0, true
		case TypeWinsize, TypeSignal:
			return 4, 4, true
		}
		return 0, 0, false
	}
	switch t {
	case TypeStdout, TypeStderr:
		return 1, MaxPayload, true
	case TypeStarted, TypeExit:
		return 2, MaxReport, true
	case TypeReport:
		return 2, MaxEntry, true
	case TypeCredit:
		return 4, 4, true
	case TypeStdinClosed, TypeOK:
		return 0, 0, true
	}
	return 0, 0, false
}

// ViolationError says how the other end broke the protocol. The connection
// cannot be used any more.
type ViolationError struct {
	// What was received, and why that is wrong.
	What string
}

// Error implements error.
func (e *ViolationError) Error() string { return "agent protocol violation: " + e.What }

func violation(format string, args ...any) error {
	return &ViolationError{What: Printable(fmt.Sprintf(format, args...), 1024)}
}

// Printable returns at most limit bytes of s, with a question mark for every
// character that is not printable (tab and newline are kept), so that the
// other end's text cannot drive the terminal or fill the log it ends up in.
func Printable(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// Frame is one message. Its layout is the type (1 byte), three zero bytes, the
// payload's length (4 bytes, little endian) and the payload.
type Frame struct {
	Type Type
	// Payload is valid until the next frame is read.
	Payload []byte
}

// uint32 returns the payload of a four byte frame.
func (f Frame) uint32() uint32 { return binary.LittleEndian.Uint32(f.Payload) }

// Credit returns the bytes that a TypeCredit frame grants.
func (f Frame) Credit() uint32 { return f.uint32() }

// Signal returns the number that a TypeSignal frame carries. It fails unless
// that is 1 to MaxSignal.
func (f Frame) Signal() (int, error) {
	n := f.uint32()
	if n < 1 || n > MaxSignal {
		return 0, violation("signal %d is not 1 to %d", n, MaxSignal)
	}
	return int(n), nil
}

// WindowSize returns what a TypeWinsize frame carries: rows, then columns, 16
// bits each.
func (f Frame) WindowSize() WindowSize {
	return WindowSize{
		Rows: binary.LittleEndian.Uint16(f.Payload[0:2]),
		Cols: binary.LittleEndian.Uint16(f.Payload[2:4]),
	}
}
