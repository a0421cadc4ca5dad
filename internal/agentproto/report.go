package agentproto

// Started is the payload of TypeStarted.
type Started struct {
	// PID is the program's process id in the guest.
	PID int `json:"pid"`
	// Session is the id of the session that OpExec made, or MainSession.
	Session string `json:"session,omitempty"`
}

// Exit is the payload of TypeExit: how a program ended.
type Exit struct {
	// Code is the exit status, 0 to 255. It is 0 when Signal is set.
	Code int `json:"code"`
	// Signal is the number of the signal that ended the program, or 0.
	Signal int `json:"signal,omitempty"`
	// Core says that the kernel dumped core.
	Core bool `json:"core,omitempty"`
	// Timeout says that the agent killed the program for its TimeoutMS. Signal is
	// SIGKILL then.
	Timeout bool `json:"timeout,omitempty"`
	// OOM says that the guest's kernel killed the program for lack of memory. Signal
	// is SIGKILL then. It is found in the kernel's log, so it may be missing.
	OOM bool `json:"oom,omitempty"`
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
	// KindNotFound: the program, its interpreter or its working directory, or the
	// file, does not exist in the guest.
	KindNotFound ErrorKind = "not_found"
	// KindNotExecutable: the program or its working directory exists and
	// cannot be used.
	KindNotExecutable ErrorKind = "not_executable"
	// Kinds of operations on files: it exists already, is not permitted, is no
	// directory, is one, has something in it, the file system is full, or read-only.
	KindExists     ErrorKind = "exists"
	KindPermission ErrorKind = "permission"
	KindNotDir     ErrorKind = "not_dir"
	KindIsDir      ErrorKind = "is_dir"
	KindNotEmpty   ErrorKind = "not_empty"
	KindNoSpace    ErrorKind = "no_space"
	KindReadOnly   ErrorKind = "read_only"
	// KindMount: a file system could not be mounted.
	KindMount ErrorKind = "mount"
	// KindModule: a kernel module could not be loaded.
	KindModule ErrorKind = "module"
	// KindInvalid: the specification asks for something that the guest does
	// not have, such as an unknown user.
	KindInvalid ErrorKind = "invalid"
	// KindBusy: the agent serves as many operations as it may, freezes, or shuts down.
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

// check says why e is no way to end.
func (e Exit) check() error {
	if e.Code < 0 || e.Code > 255 || e.Signal < 0 || e.Signal > MaxSignal || (e.Signal != 0 && e.Code != 0) ||
		(e.Timeout || e.OOM) && e.Signal != sigkill {
		return violation("exit: code %d with signal %d (timeout %v, oom %v) is no exit status", e.Code, e.Signal, e.Timeout, e.OOM)
	}
	return nil
}

// sigkill is Linux's number, also where this is compiled for another system.
const sigkill = 9

// DecodeStarted decodes the payload of TypeStarted. A session that has no id's form
// is a ViolationError.
func DecodeStarted(b []byte) (Started, error) {
	var s Started
	if err := unmarshal("started", b, &s, false); err != nil {
		return s, err
	}
	if s.Session != "" {
		if err := checkSession(s.Session); err != nil {
			return s, violation("started: %v", err)
		}
	}
	return s, nil
}

// DecodeExit decodes the payload of TypeExit. Numbers that no process ends
// with are a ViolationError.
func DecodeExit(b []byte) (Exit, error) {
	var e Exit
	if err := unmarshal("exit", b, &e, false); err != nil {
		return e, err
	}
	return e, e.check()
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
	case KindNotFound, KindNotExecutable, KindMount, KindModule, KindInvalid, KindBusy, KindVersion, KindProtocol,
		KindExists, KindPermission, KindNotDir, KindIsDir, KindNotEmpty, KindNoSpace, KindReadOnly:
	default:
		e.Kind = KindInternal
	}
	return &e, nil
}
