package qemu

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// script is a connection that says what it was made with and ends.
type script struct {
	net.Conn
	io.Reader
}

func (s script) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s script) Write(p []byte) (int, error) { return len(p), nil }
func (s script) SetDeadline(time.Time) error { return nil }

// A guest that got hold of its QEMU process can say anything here.
func FuzzQMP(f *testing.F) {
	f.Add([]byte(`{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}}}` + "\n" + `{"return": {}}` + "\n" +
		`{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}` + "\n"))
	f.Add([]byte(`{"error": {"class": "GenericError", "desc": "no"}}` + "\n"))
	f.Add([]byte("{\"QMP\": null}\n\n[]"))
	f.Add(bytes.Repeat([]byte("{"), maxMessage+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		q := newQMP(script{Reader: bytes.NewReader(b)})
		version, err := q.greet(t.Context())
		if err == nil && version == "" {
			t.Error("a greeting without a version was accepted")
		}
		reason, err := q.shutdownReason()
		if len(reason) > len(b)*3 {
			t.Errorf("a reason of %d bytes out of %d (%v)", len(reason), len(b), err)
		}
	})
}
