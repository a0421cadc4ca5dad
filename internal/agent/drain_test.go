package agent

import (
	"errors"
	"os"
	"testing"
	"time"
)

// TestReadNow: what is in a pipe is there after its deadline, too.
func TestReadNow(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	if n := readNow(r, b); n != 0 {
		t.Errorf("%d bytes from an empty pipe", n)
	}
	if _, err := w.WriteString("late"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the deadline does not hold back what is there: %v", err)
	}
	if n := readNow(r, b); string(b[:n]) != "late" {
		t.Errorf("read %q", b[:n])
	}
	w.Close()
	if n := readNow(r, b); n != 0 {
		t.Errorf("%d bytes behind the end", n)
	}
}
