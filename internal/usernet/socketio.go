package usernet

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// copySize bounds what is copied at a time, in bytes.
const copySize = 512 << 10

// errEnough ends a copy that is large enough.
var errEnough = errors.New("enough")

// socketWriter writes into a socket without waiting.
type socketWriter struct {
	fd   int
	left int // bytes it still takes
	err  error
}

func (w *socketWriter) Write(p []byte) (int, error) {
	if w.left <= 0 {
		w.err = errEnough
		return 0, w.err
	}
	n, err := ignoringEINTR(func() (int, error) { return unix.SendmsgN(w.fd, p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) })
	switch {
	case err != nil:
		w.err = err
		return 0, err
	case n < len(p):
		w.err = unix.EAGAIN
	}
	w.left -= n
	return n, w.err
}

// ignoringEINTR repeats a call that was interrupted.
func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// socketReader is a tcpip.Payloader that reads from a socket what is there.
type socketReader struct {
	fd   int
	left int // bytes that are known to be there
	err  error
}

// look finds out how much can be read, and reports whether there is anything to do:
// data, or an end in err.
func (r *socketReader) look() bool {
	n, err := unix.IoctlGetInt(r.fd, unix.TIOCINQ) // FIONREAD
	if err == nil && n > 0 {
		r.left = min(n, copySize)
		return true
	}
	var one [1]byte
	n, err = ignoringEINTR(func() (int, error) {
		n, _, err := unix.Recvfrom(r.fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return n, err
	})
	switch {
	case err == unix.EAGAIN:
		return false
	case err != nil:
		r.err = err
	case n == 0:
		r.err = io.EOF
	default:
		r.left = n
	}
	return true
}

// Len is how many bytes Read can be asked for.
func (r *socketReader) Len() int { return r.left }

// Read reads what look has seen. Nobody else reads, so that it is all there. It must
// not end early, for which the stack is not prepared.
func (r *socketReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := ignoringEINTR(func() (int, error) { return unix.Read(r.fd, p) })
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		r.err = err
		return 0, err
	}
	r.left -= n
	return n, nil
}
