package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"testing"
)

func TestNetPeer(t *testing.T) {
	p, err := startNetPeer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	const much = 3*pieceSize + 17
	request := append([]byte{requestByte}, make([]byte, requestSize-1)...)
	for _, c := range []struct {
		what   string
		send   []byte
		answer int
	}{
		{"a push", append([]byte{pushByte}, make([]byte, much)...), 1},
		{"a pull", binary.BigEndian.AppendUint64([]byte{pullByte}, much), much},
		{"two requests", bytes.Repeat(request, 2), 2 * answerSize},
		{"nonsense", []byte{'?'}, 0},
	} {
		conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(c.send); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || len(got) != c.answer {
			t.Errorf("%s: an answer of %d bytes, %v; want %d", c.what, len(got), err, c.answer)
		}
		conn.Close()
	}
}
