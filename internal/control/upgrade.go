package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
)

// stream is a connection that was upgraded, of whose data some may have been read
// already.
type stream struct {
	net.Conn

	in io.Reader
}

// Read implements net.Conn.
func (s *stream) Read(b []byte) (int, error) { return s.in.Read(b) }

// Accept is the server's side of [Client.Upgrade]: it makes a request's connection a
// stream, which is the caller's to close.
func Accept(w http.ResponseWriter) (net.Conn, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + Protocol + "\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		conn.Close()
		return nil, err
	}
	return &stream{conn, buffered.Reader}, nil
}

// ReadLine decodes a line of JSON, of no more than most bytes. What follows it is lost.
func ReadLine(r io.Reader, most int64, into any) error {
	line, err := bufio.NewReader(io.LimitReader(r, most)).ReadBytes('\n')
	if int64(len(line)) == most && err != nil {
		return fmt.Errorf("a line of %d bytes and more", most)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}
