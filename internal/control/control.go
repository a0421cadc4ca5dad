// Package control is the client's side of a monitor's control socket, and what
// both sides say on it: HTTP/1.1 over a unix socket in the VM's directory. Each
// operation is a POST to its path without a body; the answer is 204, or another
// status with the reason as text.
package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Paths of the operations.
const (
	PathPause  = "/pause"
	PathResume = "/resume"
)

// socket is the control socket's name in a VM's directory.
const socket = "control.sock"

// maxReason bounds what is read of an answer, in bytes.
const maxReason = 4 << 10

// Listen makes the control socket in a VM's directory. The socket's file goes with
// the directory, not with the listener.
func Listen(dir string) (*net.UnixListener, error) {
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
type Client struct{ http http.Client }

// NewClient returns a client of the monitor whose VM has the directory dir.
func NewClient(dir string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return inDir(dir, func(path string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		})
	}
	// Operations are rare: no connection is kept.
	return &Client{http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Do carries out the operation of a path and returns when it is done.
func (c *Client) Do(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://monitor"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the VM's monitor: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return nil
	}
	reason, err := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if err != nil {
		return fmt.Errorf("ask the VM's monitor: %w", err)
	}
	return errors.New(strings.TrimSpace(string(reason)))
}
