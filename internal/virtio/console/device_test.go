package console_test

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtio/console"
	"github.com/holtvm/holt/internal/virtiotest"
)

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func TestGuestPrints(t *testing.T) {
	var out buffer
	d := virtiotest.Start(t, console.New(&out, 80, 25), virtiotest.Options{Features: ^uint64(0)})
	var want strings.Builder
	for i := range 200 {
		line := strings.Repeat("-", i) + "\n"
		want.WriteString(line)
		if got := d.Queue(1).Do([]byte(line), 0); len(got) != 0 {
			t.Fatalf("wrote %d bytes to a transmit buffer", len(got))
		}
	}
	if out.b.String() != want.String() {
		t.Errorf("printed %d bytes, want %d", out.b.Len(), want.Len())
	}
	size := make([]byte, 4)
	if d.Dev.ReadConfig(0, size); !bytes.Equal(size, []byte{80, 0, 25, 0}) {
		t.Errorf("size %v", size)
	}
}

func TestHostTypes(t *testing.T) {
	c := console.New(io.Discard, 0, 0)
	d := virtiotest.Start(t, c, virtiotest.Options{})
	rx := d.Queue(0)
	done := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte("hello, guest"))
		done <- err
	}()
	var got []byte
	for len(got) < 12 {
		room := rx.Writable(5)
		rx.Offer(rx.Chain(room))
		rx.Kick()
		e := rx.WaitUsed()
		got = append(got, rx.Bytes(room.Addr, int(e.Len))...)
	}
	if err := <-done; err != nil || string(got) != "hello, guest" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestCloseEndsABlockedWrite(t *testing.T) {
	c := console.New(io.Discard, 0, 0)
	virtiotest.Start(t, c, virtiotest.Options{})
	done := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte("nobody reads this"))
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("Write returned %v without a reader", err)
	case <-time.After(20 * time.Millisecond):
	}
	c.Close()
	if err := <-done; err != io.ErrClosedPipe {
		t.Fatalf("Write: %v", err)
	}
}

func TestBrokenQueuesStop(t *testing.T) {
	for i := range 2 {
		c := console.New(io.Discard, 0, 0)
		d := virtiotest.Start(t, c, virtiotest.Options{})
		q := d.Queue(i)
		q.SetDesc(0, 1<<40, 64, uint16(2*(1-i)), 0)
		q.Offer(0)
		go c.Write([]byte("x"))
		q.Kick()
		q.WaitBroken()
		c.Close()
	}
}
