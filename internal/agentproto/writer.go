package agentproto

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Writer writes header lines and frames, each with one Write of the
// connection. It is safe for concurrent use.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Frame writes one frame. It blocks as long as the connection does.
func (w *Writer) Frame(t Type, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(appendHeader(w.buf[:0], t, len(payload)), payload...)
	_, err := w.w.Write(w.buf)
	if cap(w.buf) > 2*MaxPayload {
		w.buf = nil // a large specification is sent once
	}
	return err
}

// Credit writes a TypeCredit frame that grants n bytes.
func (w *Writer) Credit(n uint32) error {
	return w.Frame(TypeCredit, binary.LittleEndian.AppendUint32(nil, n))
}

// Signal writes a TypeSignal frame. n is 1 to MaxSignal.
func (w *Writer) Signal(n int) error {
	return w.Frame(TypeSignal, binary.LittleEndian.AppendUint32(nil, uint32(n)))
}

// WindowSize writes a TypeWinsize frame.
func (w *Writer) WindowSize(s WindowSize) error {
	b := binary.LittleEndian.AppendUint16(nil, s.Rows)
	return w.Frame(TypeWinsize, binary.LittleEndian.AppendUint16(b, s.Cols))
}

// Started writes a TypeStarted frame.
func (w *Writer) Started(s Started) error { return w.json(TypeStarted, s, MaxReport) }

// Exit writes a TypeExit frame.
func (w *Writer) Exit(e Exit) error { return w.json(TypeExit, e, MaxReport) }

// Error writes a TypeError frame. The message is cut to MaxMessage.
func (w *Writer) Error(e *Error) error {
	short := *e
	if len(short.Message) > MaxMessage {
		short.Message = strings.ToValidUTF8(short.Message[:MaxMessage], "")
	}
	// A message of nothing but control characters grows sixfold in JSON.
	for {
		if b, err := json.Marshal(short); err != nil || len(b) <= MaxReport {
			break
		}
		short.Message = short.Message[:len(short.Message)/2]
	}
	return w.json(TypeError, short, MaxReport)
}

// BootSpec writes a TypeSpec frame. It fails when s is not valid or its JSON
// is larger than MaxSpec.
func (w *Writer) BootSpec(s BootSpec) error {
	if err := s.Validate(); err != nil {
		return err
	}
	return w.json(TypeSpec, s, MaxSpec)
}

func (w *Writer) json(t Type, v any, limit int) error {
	b, err := encode(t, v, limit)
	if err != nil {
		return err
	}
	return w.Frame(t, b)
}

// appendHeader appends the header of a frame to buf.
func appendHeader(buf []byte, t Type, size int) []byte {
	return binary.LittleEndian.AppendUint32(append(buf, byte(t), 0, 0, 0), uint32(size))
}

// encode returns v as the payload of a frame, at most limit bytes of JSON.
func encode(t Type, v any, limit int) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode frame of type %d: %w", t, err)
	}
	if len(b) > limit {
		return nil, fmt.Errorf("encode frame of type %d: %d bytes, at most %d fit", t, len(b), limit)
	}
	return b, nil
}

func (w *Writer) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode header line: %w", err)
	}
	if len(b) >= MaxLine {
		return fmt.Errorf("encode header line: %d bytes, at most %d fit", len(b), MaxLine-1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err = w.w.Write(append(b, '\n'))
	return err
}
