package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The oldest QEMU that this backend's command line and protocols are tried with.
const (
	minMajor = 7
	minMinor = 2
)

// ErrTooOld says that the QEMU that was found is older than this backend supports.
var ErrTooOld = errors.New("too old")

// maxMessage bounds one QMP message, in bytes. Those that we get have hundreds.
const maxMessage = 64 << 10

// answerTime is how long an answer may wait for whoever asked: they wait already.
const answerTime = time.Second

// qmp is a client of the QEMU Machine Protocol (QEMU's docs/interop/qmp-spec):
// one JSON object per line.
type qmp struct {
	conn  net.Conn
	lines *bufio.Scanner

	commands sync.Mutex    // one command at a time
	answers  chan message  // to the command under way
	ended    chan struct{} // closed when no more messages are read
}

func newQMP(conn net.Conn) *qmp {
	q := &qmp{conn: conn, lines: bufio.NewScanner(conn), answers: make(chan message), ended: make(chan struct{})}
	q.lines.Buffer(nil, maxMessage)
	return q
}

// message is any of the protocol's server messages; the present field tells
// which.
type message struct {
	QMP *struct {
		Version struct {
			QEMU struct{ Major, Minor, Micro int }
		}
	}
	Return json.RawMessage
	Error  *struct{ Class, Desc string }
	Event  string
	Data   struct{ Reason string }
}

func (q *qmp) read() (message, error) {
	var m message
	if !q.lines.Scan() {
		if err := q.lines.Err(); err != nil {
			return m, err
		}
		return m, io.EOF
	}
	if err := json.Unmarshal(q.lines.Bytes(), &m); err != nil {
		return m, fmt.Errorf("parse a qmp message: %w", err)
	}
	return m, nil
}

// greet reads QEMU's greeting, checks its version, and enters command mode,
// without which there are no events. It returns the version. The greeting comes
// early; the answer to the command comes from QEMU's main loop, by when the
// machine has been made. An end of ctx ends it, with ctx's cause.
func (q *qmp) greet(ctx context.Context) (string, error) {
	stop := context.AfterFunc(ctx, func() { q.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	version, err := q.negotiate()
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return version, err
}

func (q *qmp) negotiate() (string, error) {
	m, err := q.read()
	if err != nil {
		return "", err
	}
	if m.QMP == nil {
		return "", errors.New("the first qmp message is not a greeting")
	}
	v := m.QMP.Version.QEMU
	version := fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro)
	if v.Major < minMajor || v.Major == minMajor && v.Minor < minMinor {
		return "", fmt.Errorf("qemu %s: %w: %d.%d or later is needed", version, ErrTooOld, minMajor, minMinor)
	}
	if _, err := io.WriteString(q.conn, `{"execute":"qmp_capabilities"}`+"\n"); err != nil {
		return "", err
	}
	m, err = q.read()
	if err == nil && m.Return == nil {
		err = errors.New("qmp does not enter command mode")
	}
	return version, err
}

// execute runs a command, with arguments unless they are nil. It needs
// shutdownReason to read the answer. When ctx ends first, the command may have been
// carried out or not.
func (q *qmp) execute(ctx context.Context, command string, arguments map[string]any) error {
	line, err := json.Marshal(struct {
		Execute   string         `json:"execute"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	q.commands.Lock()
	defer q.commands.Unlock()
	if _, err := q.conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	select {
	case m := <-q.answers:
		if m.Error != nil {
			return fmt.Errorf("qmp %s: %s", command, m.Error.Desc)
		}
		return nil
	case <-q.ended:
		return fmt.Errorf("qmp %s: qemu has ended", command)
	case <-ctx.Done():
		// The answer comes yet; the next command must not take it for its own.
		go func() {
			select {
			case <-q.answers:
			case <-q.ended:
			}
		}()
		return fmt.Errorf("qmp %s: %w", command, context.Cause(ctx))
	}
}

// shutdownReason reads events and answers until the connection ends, and returns
// the reason of the SHUTDOWN event (QEMU's qapi/run-state.json, ShutdownCause), or
// "" if none came.
func (q *qmp) shutdownReason() (string, error) {
	defer close(q.ended)
	reason := ""
	for {
		m, err := q.read()
		switch {
		case errors.Is(err, io.EOF):
			return reason, nil
		case err != nil:
			return reason, err
		case m.Error != nil || m.Return != nil:
			select {
			case q.answers <- m:
			case <-time.After(answerTime):
				return reason, errors.New("qmp: an answer that nobody waits for")
			}
		case m.Event == "SHUTDOWN" && reason == "":
			reason = m.Data.Reason
		}
	}
}
