package agentproto

// Started is the payload of TypeStarted.
type Started struct {
	// PID is the program's process id in the guest.
	PID int `json:"pid"`
}

// Exit is the payload of TypeExit: how a program ended.
type Exit struct {
	// Code is the exit status, 0 to 255. It is 0 when Signal is set.
	Code int `json:"code"`
	// Signal is the number of the signal that ended the program, or 0.
	Signal int `json:"signal,omitempty"`
	// Core says that the kernel dumped core.
	Core bool `json:"core,omitempty"`
}

// Status is the exit status that a shell would give: 128+Signal for a program
// that a signal ended.
func (e Exit) Status() int {
	if e.Signal != 0 {
		return 128 + e.Signal
	}
	return e.Code
}

// ErrorKind says what could not be done.
type ErrorKind string

// The kinds of Error.
const (
	// KindNotFound: the program, its interpreter or its working directory does
	// not exist in the guest.
	KindNotFound ErrorKind = "not_found"
	// KindNotExecutable: the program or its working directory exists and
	// cannot be used.
	KindNotExecutable ErrorKind = "not_executable"
	// KindMount: a file system could not be mounted.
	KindMount ErrorKind = "mount"
	// KindModule: a kernel module could not be loaded.
	KindModule ErrorKind = "module"
	// KindInvalid: the specification asks for something that the guest does
	// not have, such as an unknown user.
	KindInvalid ErrorKind = "invalid"
	// KindBusy: the agent serves as many operations as it may, or shuts down.
	KindBusy ErrorKind = "busy"
	// KindVersion: the two ends speak different versions.
	KindVersion ErrorKind = "version"
	// KindProtocol: the other end broke the protocol.
	KindProtocol ErrorKind = "protocol"
	// KindInternal: anything else.
	KindInternal ErrorKind = "internal"
)

// Error is the payload of TypeError, and an error.
type Error struct {
	Kind ErrorKind `json:"kind"`
	// Message is for a person, at most MaxMessage bytes.
	Message string `json:"message"`
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Status is the exit status that a shell or a container tool would give: 127
// for what was not found, 126 for what cannot be executed, else 125.
func (e *Error) Status() int {
	switch e.Kind {
	case KindNotFound:
		return 127
	case KindNotExecutable:
		return 126
	default:
		return 125
	}
}

// DecodeStarted decodes the payload of TypeStarted.
func DecodeStarted(b []byte) (Started, error) {
	var s Started
	return s, unmarshal("started", b, &s, false)
}

// DecodeExit decodes the payload of TypeExit. Numbers that no process ends
// with are a ViolationError.
func DecodeExit(b []byte) (Exit, error) {
	var e Exit
	if err := unmarshal("exit", b, &e, false); err != nil {
		return e, err
	}
	if e.Code < 0 || e.Code > 255 || e.Signal < 0 || e.Signal > MaxSignal || (e.Signal != 0 && e.Code != 0) {
		return e, violation("exit: code %d with signal %d is no exit status", e.Code, e.Signal)
	}
	return e, nil
}

// DecodeError decodes the payload of TypeError. A kind that is not known here
// becomes KindInternal. The text is the sender's: what it may do to a terminal
// is the caller's to prevent.
func DecodeError(b []byte) (*Error, error) {
	var e Error
	if err := unmarshal("error", b, &e, false); err != nil {
		return nil, err
	}
	if len(e.Message) > MaxMessage {
		return nil, violation("error: message of %d bytes, at most %d", len(e.Message), MaxMessage)
	}
	switch e.Kind {
	case KindNotFound, KindNotExecutable, KindMount, KindModule, KindInvalid, KindBusy, KindVersion, KindProtocol:
	default:
		e.Kind = KindInternal
	}
	return &e, nil
}
