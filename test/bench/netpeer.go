package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// The first byte that a connection of the guest's sends says what it is for.
const (
	pushByte    = 'p' // take what comes; a byte is the answer to its end
	pullByte    = 'g' // 8 bytes say, big-endian, how many to send
	requestByte = 'r' // answer each request
)

const (
	requestSize = 100  // bytes, the first of them requestByte
	answerSize  = 1024 // bytes
	pieceSize   = 256 << 10
)

// netPeer is what the guest connects to: a server on the host's loopback.
type netPeer struct {
	listener net.Listener
	port     int
}

func startNetPeer() (*netPeer, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &netPeer{listener, listener.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveConnection(conn)
		}
	}()
	return p, nil
}

// close takes no more connections. Those that there are end with their guests.
func (p *netPeer) close() { p.listener.Close() }

// serveConnection does what the guest asks for. What goes wrong shows in the guest.
func serveConnection(conn net.Conn) {
	defer conn.Close()
	request := make([]byte, requestSize)
	if _, err := io.ReadFull(conn, request[:1]); err != nil {
		return
	}
	switch request[0] {
	case pushByte:
		takeAll(conn)
	case pullByte:
		give(conn)
	case requestByte:
		answerAll(conn, request)
	}
}

func takeAll(conn net.Conn) {
	piece := make([]byte, pieceSize)
	for {
		_, err := conn.Read(piece)
		if errors.Is(err, io.EOF) {
			_, _ = conn.Write(piece[:1])
		}
		if err != nil {
			return
		}
	}
}

func give(conn net.Conn) {
	var count [8]byte
	if _, err := io.ReadFull(conn, count[:]); err != nil {
		return
	}
	piece := make([]byte, pieceSize)
	for left := binary.BigEndian.Uint64(count[:]); left > 0; {
		n, err := conn.Write(piece[:min(left, pieceSize)])
		if err != nil {
			return
		}
		left -= uint64(n)
	}
}

// answerAll answers requests, of the first of which one byte is there.
func answerAll(conn net.Conn, request []byte) {
	answer := make([]byte, answerSize)
	for have := 1; ; have = 0 {
		if _, err := io.ReadFull(conn, request[have:]); err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}
