package agentproto

import "slices"

// Hello is the header line with which the agent opens the boot connection.
type Hello struct {
	// Holt is the protocol version.
	Holt int `json:"holt"`
	// Kernel is the guest kernel's release, as uname -r prints it.
	Kernel string `json:"kernel"`
	// Machine is the guest's architecture, as uname -m prints it.
	Machine string `json:"machine"`
	// PID is the agent's process id: 1.
	PID int `json:"pid"`
	// StartUS is the time since the guest's boot when the agent started, and
	// DialUS when it dialed, in microseconds.
	StartUS int64 `json:"start_us"`
	DialUS  int64 `json:"dial_us"`
}

// Hello writes the header line of the boot connection.
func (w *Writer) Hello(h Hello) error {
	h.Holt = Version
	return w.line(h)
}

// Hello reads the header line of the boot connection. Unknown keys are
// allowed. Another version is a VersionError.
func (r *Reader) Hello() (Hello, error) {
	b, err := r.line()
	if err != nil {
		return Hello{}, err
	}
	return DecodeHello(b)
}

// DecodeHello decodes a header line, given without its newline.
func DecodeHello(b []byte) (Hello, error) {
	var h Hello
	if err := checkVersion("hello", b); err != nil {
		return h, err
	}
	return h, unmarshal("hello", b, &h, false)
}

// Op names an operation that the agent serves.
type Op string

// The operations.
const (
	// OpExec starts a program: a TypeSpec frame with a Program follows.
	OpExec Op = "exec"
	// OpPing is answered with TypeOK.
	OpPing Op = "ping"
	// OpShutdown is answered with TypeOK; then every process gets SIGTERM and,
	// after the grace, SIGKILL. The main program's end is reported as ever.
	OpShutdown Op = "shutdown"
	// OpAttach connects to a session that an exec left running: a TypeSpec frame
	// with an Attach follows, and then the connection is as that of OpExec.
	OpAttach Op = "attach"
	// OpSessions lists the sessions of exec: a TypeReport frame with a Session for
	// each, then TypeOK.
	OpSessions Op = "sessions"
	// OpSignal signals a session: a TypeSpec frame with a SessionSignal follows.
	// It is answered with TypeOK.
	OpSignal Op = "signal"
	// OpProcesses lists the guest's processes: a TypeReport frame with a ProcessInfo
	// for each, then TypeOK.
	OpProcesses Op = "processes"
	// OpStats is answered with a TypeReport frame with a GuestStats, then TypeOK.
	OpStats Op = "stats"
	// OpFile works on the guest's files: a TypeSpec frame with a FileRequest
	// follows.
	OpFile Op = "file"
	// OpFreeze holds all user space, so that the machine can be saved: it is answered
	// with a TypeReport frame with a Freeze, then TypeOK, and begins when the host has
	// closed the connection.
	OpFreeze Op = "freeze"
	// OpRenew makes the guest one of its own: a TypeSpec frame with a Renewal follows.
	// After TypeOK the connection carries the main program, as the boot connection
	// does; without one it ends.
	OpRenew Op = "renew"
	// OpClock adds AdjustNS to the wall clock, and is answered with a TypeReport frame
	// with a Clock, then TypeOK.
	OpClock Op = "clock"
)

// ops are the operations that there are.
var ops = []Op{OpExec, OpPing, OpShutdown, OpAttach, OpSessions, OpSignal, OpProcesses, OpStats, OpFile, OpFreeze, OpRenew, OpClock}

// MaxGraceMS bounds Request.GraceMS: one hour.
const MaxGraceMS = 3600 * 1000

// Request is the header line with which the host opens a connection to
// ServicePort.
type Request struct {
	// Holt is the protocol version.
	Holt int `json:"holt"`
	// Op is the operation.
	Op Op `json:"op"`
	// GraceMS is for OpShutdown: the milliseconds between SIGTERM and SIGKILL,
	// 0 to MaxGraceMS.
	GraceMS int64 `json:"grace_ms,omitempty"`
	// AdjustNS is for OpClock: the nanoseconds by which the clock is behind, or ahead if
	// it is negative; at most MaxAdjustNS.
	AdjustNS int64 `json:"adjust_ns,omitempty"`
	// Detached is for OpExec: the program runs without a connection. TypeStarted is
	// followed by TypeOK.
	Detached bool `json:"detached,omitempty"`
}

// Request writes the header line of an operation.
func (w *Writer) Request(q Request) error {
	q.Holt = Version
	return w.line(q)
}

// Request reads the header line of an operation. Another version is a
// VersionError; an unknown key, operation or grace is a ViolationError.
func (r *Reader) Request() (Request, error) {
	b, err := r.line()
	if err != nil {
		return Request{}, err
	}
	return DecodeRequest(b)
}

// DecodeRequest decodes a header line, given without its newline.
func DecodeRequest(b []byte) (Request, error) {
	var q Request
	if err := checkVersion("request", b); err != nil {
		return q, err
	}
	if err := unmarshal("request", b, &q, true); err != nil {
		return q, err
	}
	if !slices.Contains(ops, q.Op) {
		return q, violation("request: unknown operation %.64q", q.Op)
	}
	if q.Detached && q.Op != OpExec {
		return q, violation("request: %s cannot be detached", q.Op)
	}
	if q.GraceMS < 0 || q.GraceMS > MaxGraceMS {
		return q, violation("request: grace_ms %d is not 0 to %d", q.GraceMS, MaxGraceMS)
	}
	if q.AdjustNS < -MaxAdjustNS || q.AdjustNS > MaxAdjustNS {
		return q, violation("request: adjust_ns %d is not %d to %d", q.AdjustNS, int64(-MaxAdjustNS), int64(MaxAdjustNS))
	}
	return q, nil
}
