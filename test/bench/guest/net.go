package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// The host's half of the protocol is netpeer.go.
const (
	pushByte    = 'p'
	pullByte    = 'g'
	requestByte = 'r'
	requestSize = 100
	answerSize  = 1024
	pieceSize   = 256 << 10
)

// transferLimit ends a transfer early, so that a network that hardly moves is
// measured in finite time.
const transferLimit = 10 * time.Second

// netWork is work on a network, with system calls as a C program makes them.
type netWork struct {
	mib  int // each way
	ops  int // requests
	port int // of the host's
}

func newNetWork() ([]step, error) {
	w := &netWork{}
	if err := settings(map[string]*int{"MIB": &w.mib, "OPS": &w.ops, "PORT": &w.port}); err != nil {
		return nil, err
	}
	return []step{
		{"to-host", nil, w.push},
		{"to-guest", nil, w.pull},
		{"requests", nil, w.requests},
		{"exchanges", nil, w.exchanges},
	}, setUp([4]byte{10, 0, 2, 15}, [4]byte{255, 255, 255, 0})
}

// connection is a connected socket.
type connection int

func (w *netWork) connect() (connection, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: w.port, Addr: [4]byte{10, 0, 2, 2}}); err != nil {
		return 0, errors.Join(fmt.Errorf("connect: %w", err), unix.Close(fd))
	}
	return connection(fd), nil
}

func (c connection) Read(p []byte) (int, error) {
	n, err := unix.Read(int(c), p)
	switch {
	case err != nil:
		return 0, fmt.Errorf("receive: %w", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (c connection) Write(p []byte) (int, error) {
	n, err := unix.Write(int(c), p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		err = fmt.Errorf("send: %w", err)
	}
	return max(n, 0), err
}

func (c connection) close() error { return unix.Close(int(c)) }

// push sends, and waits until the host has it all. It returns MB.
func (w *netWork) push() (float64, error) {
	c, err := w.connect()
	if err != nil {
		return 0, err
	}
	defer c.close()
	piece := make([]byte, pieceSize)
	piece[0] = pushByte
	sent := 0
	for begin := time.Now(); sent < w.mib*mib && time.Since(begin) < transferLimit; sent += pieceSize {
		if _, err := c.Write(piece); err != nil {
			return 0, err
		}
	}
	if err := unix.Shutdown(int(c), unix.SHUT_WR); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(c, piece[:1]); err != nil {
		return 0, err
	}
	return float64(sent) / 1e6, nil
}

// pull receives. It returns MB.
func (w *netWork) pull() (float64, error) {
	c, err := w.connect()
	if err != nil {
		return 0, err
	}
	defer c.close()
	all := w.mib * mib
	if _, err := c.Write(binary.BigEndian.AppendUint64([]byte{pullByte}, uint64(all))); err != nil {
		return 0, err
	}
	piece := make([]byte, pieceSize)
	got := 0
	for begin := time.Now(); got < all && time.Since(begin) < transferLimit; {
		n, err := c.Read(piece)
		if err != nil {
			return 0, fmt.Errorf("after %d of %d bytes: %w", got, all, err)
		}
		got += n
	}
	return float64(got) / 1e6, nil
}

// exchange sends a request and receives the answer.
func exchange(c connection, buf *[answerSize]byte) error {
	buf[0] = requestByte
	if _, err := c.Write(buf[:requestSize]); err != nil {
		return err
	}
	_, err := io.ReadFull(c, buf[:])
	return err
}

// requests makes requests, with a connection for each. It returns their number.
func (w *netWork) requests() (float64, error) {
	var buf [answerSize]byte
	for range w.ops {
		c, err := w.connect()
		if err != nil {
			return 0, err
		}
		if err := errors.Join(exchange(c, &buf), c.close()); err != nil {
			return 0, err
		}
	}
	return float64(w.ops), nil
}

// exchanges makes requests on one connection. It returns their number.
func (w *netWork) exchanges() (float64, error) {
	c, err := w.connect()
	if err != nil {
		return 0, err
	}
	defer c.close()
	var buf [answerSize]byte
	for range w.ops {
		if err := exchange(c, &buf); err != nil {
			return 0, err
		}
	}
	return float64(w.ops), nil
}
