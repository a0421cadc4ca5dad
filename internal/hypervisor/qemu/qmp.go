package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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

// qmp is a client of the QEMU Machine Protocol (QEMU's docs/interop/qmp-spec):
// one JSON object per line. It needs no more of it than events.
type qmp struct {
	conn  net.Conn
	lines *bufio.Scanner
}

func newQMP(conn net.Conn) *qmp {
	q := &qmp{conn: conn, lines: bufio.NewScanner(conn)}
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

// shutdownReason reads events until the connection ends, and returns the reason
// of the SHUTDOWN event (QEMU's qapi/run-state.json, ShutdownCause), or "" if
// none came.
func (q *qmp) shutdownReason() (string, error) {
	reason := ""
	for {
		m, err := q.read()
		switch {
		case errors.Is(err, io.EOF):
			return reason, nil
		case err != nil:
			return reason, err
		case m.Error != nil:
			return reason, fmt.Errorf("qmp: %s", m.Error.Desc)
		case m.Event == "SHUTDOWN" && reason == "":
			reason = m.Data.Reason
		}
	}
}
