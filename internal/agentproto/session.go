package agentproto

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

const (
	// MainSession is the id of the main program. SessionSignal alone takes it.
	MainSession = "main"
	// MaxSessionID is the longest id of a session, in bytes.
	MaxSessionID = 19
)

// Attach is what follows an OpAttach header line.
type Attach struct {
	// Session is the id of a session of OpExec.
	Session string `json:"session"`
}

// Validate says why a names no session that can be attached to.
func (a Attach) Validate() error {
	if a.Session == MainSession {
		return errors.New("session main: the main program has a connection of its own")
	}
	return checkSession(a.Session)
}

// SessionSignal is what follows an OpSignal header line.
type SessionSignal struct {
	// Session is the id of a session, or MainSession.
	Session string `json:"session"`
	// Signal is the number, 1 to MaxSignal.
	Signal int `json:"signal"`
	// Group sends it to the program's process group, not to the program alone.
	Group bool `json:"group,omitempty"`
}

// Validate returns every reason for which s cannot be sent, joined.
func (s SessionSignal) Validate() error {
	err := checkSession(s.Session)
	if s.Signal < 1 || s.Signal > MaxSignal {
		err = errors.Join(err, fmt.Errorf("signal %d: must be 1 to %d", s.Signal, MaxSignal))
	}
	return err
}

// Session is a program that OpExec started, in a TypeReport frame.
type Session struct {
	// ID is a decimal number, which no other session of the guest's life has.
	ID string `json:"id"`
	// PID is the program's process id.
	PID int `json:"pid"`
	// Argv is the path and the arguments, the first few KiB of them.
	Argv []string `json:"argv"`
	// User is what the Program said.
	User string `json:"user,omitempty"`
	// TTY says that it has a terminal.
	TTY bool `json:"tty,omitempty"`
	// Attached says that a connection carries its streams.
	Attached bool `json:"attached,omitempty"`
	// Running says that it has not ended. Exit says how it ended.
	Running bool  `json:"running,omitempty"`
	Exit    *Exit `json:"exit,omitempty"`
	// StartedNS is when it was started, nanoseconds since 1970 by the guest's clock.
	StartedNS int64 `json:"started_ns"`
}

// checkSession says why id can be the id of no session.
func checkSession(id string) error {
	if id == MainSession || id != "" && len(id) <= MaxSessionID && strings.Trim(id, digits) == "" {
		return nil
	}
	return fmt.Errorf("session %.80q: must be a number, as the list of sessions has it", id)
}

const digits = "0123456789"

// Ask writes the header line of an operation and the TypeSpec frame that follows it,
// with one Write: the agent is woken once. It fails when spec is not valid or its
// JSON is larger than MaxSpec.
func (w *Writer) Ask(q Request, spec interface{ Validate() error }) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	q.Holt = Version
	line, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("encode header line: %w", err)
	}
	payload, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("encode specification: %w", err)
	}
	if len(payload) > MaxSpec {
		return fmt.Errorf("encode specification: %d bytes, at most %d fit", len(payload), MaxSpec)
	}
	b := append(append(line, '\n'), byte(TypeSpec), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err = w.w.Write(append(b, payload...))
	return err
}

// DecodeAttach decodes and validates the payload of a TypeSpec frame that follows an
// OpAttach header line. Unknown keys and values that Validate refuses are a
// ViolationError.
func DecodeAttach(b []byte) (Attach, error) {
	var a Attach
	if err := unmarshal("attach", b, &a, true); err != nil {
		return a, err
	}
	if err := a.Validate(); err != nil {
		return a, violation("attach: %v", err)
	}
	return a, nil
}

// DecodeSessionSignal is DecodeAttach for OpSignal.
func DecodeSessionSignal(b []byte) (SessionSignal, error) {
	var s SessionSignal
	if err := unmarshal("signal", b, &s, true); err != nil {
		return s, err
	}
	if err := s.Validate(); err != nil {
		return s, violation("signal: %v", err)
	}
	return s, nil
}

// DecodeSession decodes the payload of a TypeReport frame that answers OpSessions.
// An id, a process id or an exit that cannot be is a ViolationError. The texts are
// the guest's.
func DecodeSession(b []byte) (Session, error) {
	var s Session
	if err := unmarshal("session", b, &s, false); err != nil {
		return s, err
	}
	if err := checkSession(s.ID); err != nil {
		return s, violation("%v", err)
	}
	if s.PID < 1 || s.Running != (s.Exit == nil) {
		return s, violation("session %s: process %d, running %v, exit %+v", s.ID, s.PID, s.Running, s.Exit)
	}
	if s.Exit != nil {
		return s, s.Exit.check()
	}
	return s, nil
}
