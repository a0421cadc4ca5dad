// Package control is the client's side of a monitor's control socket, and what
// both sides say on it: HTTP/1.1 over a unix socket in the VM's directory.
//
// An operation is a POST to its path without a body; the answer is 200 and the run of
// the VM that it was done to (see state.Status), or another status with the reason as
// text: 409 when the VM is not in a state for it. What is asked for with GET is answered as JSON or text. A POST with "Upgrade: holt" turns
// the connection into a stream of the agent protocol.
package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Paths on the control socket.
const (
	PathPause   = "/pause"   // POST
	PathResume  = "/resume"  // POST
	PathStop    = "/stop"    // POST, with ParamGrace; answered when it is under way
	PathKill    = "/kill"    // POST; answered when it is under way
	PathSignal  = "/signal"  // POST, with ParamSignal: to the main program
	PathWait    = "/wait"    // GET a state.End, once there is one
	PathStats   = "/stats"   // GET Stats
	PathMetrics = "/metrics" // GET the same as text, for Prometheus
	PathAttach  = "/attach"  // upgrade: the main program's streams; with ParamStdin its input
	PathAgent   = "/agent"   // upgrade: a connection to the agent's service port

	PathSnapshot   = "/snapshot"    // POST, with ParamDir, ParamID, ParamParent and ParamRebase; answers Captured
	PathBase       = "/base"        // GET Base
	PathWorkingSet = "/working-set" // GET the pages that are in use now, see guestmem.EncodeRuns
	PathFork       = "/fork"        // upgrade: answers a line with Forked
)

// Parameters of the operations.
const (
	ParamGrace  = "grace_ms" // between SIGTERM and SIGKILL
	ParamSignal = "signal"   // a number
	ParamStdin  = "stdin"    // 1 for the program's input
	ParamDir    = "dir"      // the directory to which a snapshot is written
	ParamID     = "id"       // of the snapshot
	ParamParent = "parent"   // id of the snapshot since which changes are written; none: all
	ParamRebase = "rebase"   // 1: the VM goes on from the snapshot's file
)

// HeaderState of a refusal is the VM's state, if that is why.
const HeaderState = "Holt-State"

// Protocol is what connections are upgraded to.
const Protocol = "holt"

// socket is the control socket's name in a VM's directory.
const socket = "control.sock"

const (
	// maxReason bounds what is read of a refusal, and maxAnswer of an answer, bytes.
	maxReason = 64 << 10
	maxAnswer = 16 << 20
)

// ErrGone says that no monitor answers: the VM does not run any more, or not yet.
var ErrGone = errors.New("the VM's monitor does not answer")

// RefusedError is the monitor's answer to what it does not do.
type RefusedError struct {
	Status int // of HTTP
	Reason string
	State  string // the VM's, if that is why
}

// Error implements error.
func (e *RefusedError) Error() string { return e.Reason }

// Listen makes the control socket in a VM's directory, in place of one that a
// monitor before may have left. The socket's file goes with the directory, not with
// the listener.
func Listen(dir string) (*net.UnixListener, error) {
	if err := os.Remove(filepath.Join(dir, socket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	l, err := inDir(dir, func(path string) (*net.UnixListener, error) {
		return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	})
	if err != nil {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// inDir calls f with a path of the socket that is short enough for a socket's
// address (108 bytes), however long the directory's own is.
func inDir[T any](dir string, f func(path string) (T, error)) (result T, err error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return result, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	return f(filepath.Join("/proc/self/fd", strconv.Itoa(fd), socket))
}

// Client asks one monitor.
type Client struct {
	dir  string
	http http.Client
}

// NewClient returns a client of the monitor whose VM has the directory dir.
func NewClient(dir string) *Client {
	c := &Client{dir: dir}
	// Operations are rare: no connection is kept.
	c.http.Transport = &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		DisableKeepAlives: true,
	}
	return c
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	conn, err := inDir(c.dir, func(path string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	})
	return conn, gone(err)
}

// gone makes ErrGone of the errors that say so.
func gone(err error) error {
	for _, e := range []error{unix.ENOENT, unix.ECONNREFUSED, unix.ECONNRESET, unix.EPIPE, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrGone, err)
		}
	}
	return err
}

// Do carries out the operation of a path and returns when it is done, with the run of
// the VM that it was done to. params are pairs of a name and a value. What the monitor
// refuses is a *RefusedError.
func (c *Client) Do(ctx context.Context, path string, params ...string) (run string, err error) {
	b, err := c.ask(ctx, http.MethodPost, path, params)
	return string(b), err
}

// Get decodes the JSON that a path answers.
func (c *Client) Get(ctx context.Context, path string, into any) error {
	b, err := c.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("ask the VM's monitor for %s: %w", path, err)
	}
	return nil
}

// GetText returns the text that a path answers.
func (c *Client) GetText(ctx context.Context, path string) ([]byte, error) {
	return c.ask(ctx, http.MethodGet, path, nil)
}

func (c *Client) ask(ctx context.Context, method, path string, params []string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, target(path, params), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("ask the VM's monitor: %w", gone(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return nil, refused(resp)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask the VM's monitor: %w", gone(err))
	}
	return b, nil
}

func target(path string, params []string) string {
	q := url.Values{}
	for i := 0; i+1 < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	u := url.URL{Scheme: "http", Host: "monitor", Path: path, RawQuery: q.Encode()}
	return u.String()
}

func refused(resp *http.Response) error {
	reason, err := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if err != nil {
		return fmt.Errorf("ask the VM's monitor: %w", gone(err))
	}
	return &RefusedError{resp.StatusCode, strings.TrimSpace(string(reason)), resp.Header.Get(HeaderState)}
}

// Upgrade turns a new connection into a stream of the agent protocol. ctx bounds
// the start alone.
func (c *Client) Upgrade(ctx context.Context, path string, params ...string) (net.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	stream, err := upgrade(conn, path, params)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return stream, nil
}

func upgrade(conn net.Conn, path string, params []string) (net.Conn, error) {
	req, err := http.NewRequest(http.MethodPost, target(path, params), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", Protocol)
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("ask the VM's monitor: %w", gone(err))
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		return nil, fmt.Errorf("ask the VM's monitor: %w", gone(err))
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return nil, refused(resp)
	}
	return &stream{conn, in}, nil
}
