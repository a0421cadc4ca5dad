package usernet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
)

// readCapture returns the frames of a pcap file.
func readCapture(t testing.TB, b []byte) (frames [][]byte) {
	t.Helper()
	le := binary.LittleEndian
	if len(b) < 24 || le.Uint32(b) != 0xa1b23c4d || le.Uint16(b[4:]) != 2 || le.Uint16(b[6:]) != 4 || le.Uint32(b[20:]) != 1 {
		t.Fatalf("no pcap header: %x", b[:min(len(b), 24)])
	}
	snap := le.Uint32(b[16:])
	for b = b[24:]; len(b) > 0; {
		if len(b) < 16 {
			t.Fatal("a frame's header is cut")
		}
		size, original := le.Uint32(b[8:]), le.Uint32(b[12:])
		if nanos := le.Uint32(b[4:]); nanos >= 1e9 || size != original || size > snap || int(size) > len(b)-16 {
			t.Fatalf("a frame has the header %x", b[:16])
		}
		frames = append(frames, b[16:16+size])
		b = b[16+size:]
	}
	return frames
}

func TestCapture(t *testing.T) {
	var file bytes.Buffer
	config := testConfig()
	config.Capture = &file
	g := newGuest(t, config)
	taken := g.listen()
	request := g.ping("10.0.2.15", "10.0.2.1", 60000)
	g.transmit(request)
	reply := next(t, taken)
	if err := g.network.Close(); err != nil {
		t.Fatal(err)
	}
	frames := readCapture(t, file.Bytes())
	if len(frames) != 2 || !bytes.Equal(frames[0], request) || !bytes.Equal(frames[1], reply) {
		t.Errorf("%d frames are captured", len(frames))
	}
}

type brokenWriter struct{ writes int }

func (w *brokenWriter) Write([]byte) (int, error) {
	w.writes++
	return 0, errors.New("no space left on device")
}

// TestCaptureBroken has a capture that cannot be written: the network goes on.
func TestCaptureBroken(t *testing.T) {
	var log strings.Builder
	w := new(brokenWriter)
	c := newCapture(w, slog.New(slog.NewTextHandler(&log, nil)))
	g := newGuest(t, testConfig())
	for range 100 {
		c.add(g.datagram(g.serveUDP(t, false), []byte("hello"), noOffload))
	}
	if err := c.close(); err == nil {
		t.Error("the error is lost")
	}
	if w.writes != 1 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%d writes, log:\n%s", w.writes, &log)
	}
}

// TestCaptureSlow has a file that takes nothing for long: what waits is bounded.
func TestCaptureSlow(t *testing.T) {
	var log strings.Builder
	r, w := io.Pipe()
	c := newCapture(w, slog.New(slog.NewTextHandler(&log, nil)))
	g := newGuest(t, testConfig())
	frame := g.datagram(g.serveUDP(t, false), make([]byte, 60000), noOffload)
	for range 1000 {
		c.add(frame)
	}
	c.mu.Lock()
	waiting := len(c.buf)
	c.mu.Unlock()
	if waiting > captureBytes {
		t.Errorf("%d bytes wait", waiting)
	}
	got := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(r)
		got <- b
	}()
	if err := c.close(); err != nil {
		t.Error(err)
	}
	w.Close()
	if frames := readCapture(t, <-got); len(frames)+c.lost != 1000 || c.lost == 0 {
		t.Errorf("%d frames are there and %d are missing", len(frames), c.lost)
	}
	if !strings.Contains(log.String(), "missing") {
		t.Errorf("nothing is said about missing frames:\n%s", &log)
	}
}
