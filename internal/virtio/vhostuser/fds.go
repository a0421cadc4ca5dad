package vhostuser

import (
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// fds are the descriptors that came with one message; -1 is one that was taken.
// They are plain numbers, not files: Go's poller would watch an eventfd that
// became a file, and wake up whenever we signal it.
type fds []int

// take hands over the i-th descriptor; its caller closes it.
func (f fds) take(i int) int {
	fd := f[i]
	f[i] = -1
	return fd
}

// close closes what nobody took.
func (f fds) close() {
	for _, fd := range f {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// errClosed says that the peer closed the connection between two messages.
var errClosed = errors.New("connection closed")

// receive reads the next message. Descriptors come with the first bytes of a
// header; the kernel drops any that a peer attaches elsewhere. With an error
// nothing stays open.
func receive(conn *net.UnixConn) (message, error) {
	var head [headerSize]byte
	var got fds
	oob := make([]byte, unix.CmsgSpace(4*maxRegions))
	for n := 0; n < headerSize; {
		k, oobn, flags, _, err := conn.ReadMsgUnix(head[n:], oob)
		more, perr := parseRights(oob[:oobn])
		got = append(got, more...)
		switch {
		case n == 0 && gone(err):
			err = errClosed
		case err == nil && perr != nil:
			err = perr
		case err == nil && (flags&unix.MSG_CTRUNC != 0 || len(got) > maxRegions):
			err = fmt.Errorf("more than %d descriptors with one message", maxRegions)
		}
		if err != nil {
			got.close()
			return message{}, err
		}
		n += k
	}
	m, size, err := header(head[:])
	if err == nil && len(got) > shapes[m.request].fds {
		err = fmt.Errorf("%d descriptors", len(got))
	}
	if err == nil {
		m.payload = make([]byte, size)
		_, err = io.ReadFull(conn, m.payload)
	}
	if err != nil {
		got.close()
		return message{}, fmt.Errorf("read %v: %w", m.request, err)
	}
	m.fds = got
	return m, nil
}

// gone reports whether err means that the peer closed its end. A close with
// unread answers in its buffer is a reset.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// parseRights takes descriptors out of a control message. What it returns is
// open even when there is an error.
func parseRights(oob []byte) (fds, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	var got fds
	var errs []error
	for i := range msgs {
		raw, err := unix.ParseUnixRights(&msgs[i])
		if err != nil { // another kind: credentials, say
			errs = append(errs, fmt.Errorf("parse control message: %w", err))
			continue
		}
		got = append(got, raw...)
	}
	return got, errors.Join(errs...)
}
