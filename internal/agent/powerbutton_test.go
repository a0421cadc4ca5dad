package agent

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// press is what a device says when a key goes down, or up.
func keyEvent(key uint16, value uint32) []byte {
	b := make([]byte, eventSize)
	binary.NativeEndian.PutUint16(b[16:], evKey)
	binary.NativeEndian.PutUint16(b[18:], key)
	binary.NativeEndian.PutUint32(b[20:], value)
	return b
}

func TestIsPress(t *testing.T) {
	for name, tt := range map[string]struct {
		events []byte
		want   bool
	}{
		"press":            {keyEvent(keyPower, 1), true},
		"release":          {keyEvent(keyPower, 0), false},
		"another key":      {keyEvent(30, 1), false},
		"press at the end": {append(keyEvent(30, 1), keyEvent(keyPower, 1)...), true},
		"cut off":          {keyEvent(keyPower, 1)[:20], false},
		"nothing":          {nil, false},
	} {
		if got := isPress(tt.events); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestPowerButton has a FIFO for a button. The devices appear late, as when their
// driver is loaded by the guest, and the first one goes away.
func TestPowerButton(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "input")
	pressed := make(chan struct{}, 1)
	go watchPowerButton(dir, func(fd int) bool {
		var st unix.Stat_t
		return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
	}, func() { pressed <- struct{}{} })
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "event0"), keyEvent(keyPower, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"event1", "event2"} {
		name = filepath.Join(dir, name)
		if err := unix.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
		device, err := os.OpenFile(name, os.O_WRONLY, 0) // waits for the reader
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := device.Write(append(keyEvent(keyPower, 1), keyEvent(keyPower, 0)...)); err != nil {
				t.Fatal(err)
			}
			select {
			case <-pressed:
			case <-time.After(10 * time.Second):
				t.Fatal("the press is not noticed")
			}
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		device.Close()
	}
	if isPowerButton(0) {
		t.Error("standard input is a power button")
	}
}
