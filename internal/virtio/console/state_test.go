package console_test

import (
	"bytes"
	"testing"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/console"
	"github.com/holtvm/holt/internal/virtiotest"
)

func TestState(t *testing.T) {
	var out buffer
	newDevice := func(*testing.T) virtio.Device { return console.New(&out, 80, 25) }
	virtiotest.StateSuite(t, newDevice, func(t *testing.T, d *virtiotest.Driver, again bool) {
		before := out.b.Len()
		d.Queue(1).Do([]byte("a line\n"), 0)
		if got := string(out.b.Bytes()[before:]); got != "a line\n" {
			t.Errorf("printed %q", got)
		}
	})
}

// TestSizeMoves: the size is what the driver was told, not what the terminal of
// another process has.
func TestSizeMoves(t *testing.T) {
	a, b := console.New(nil, 80, 25), console.New(nil, 132, 50)
	state, err := a.SaveState()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.LoadState(state); err != nil {
		t.Fatal(err)
	}
	size := make([]byte, 4)
	if b.ReadConfig(0, size); !bytes.Equal(size, []byte{80, 0, 25, 0}) {
		t.Errorf("size %v", size)
	}
}

// TestWriteOutlastsAPause: input that waited for room reaches the guest whole.
func TestWriteOutlastsAPause(t *testing.T) {
	c := console.New(nil, 0, 0)
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
		d.Pause()
		d.Resume(c)
	}
	if err := <-done; err != nil || string(got) != "hello, guest" {
		t.Errorf("got %q, %v", got, err)
	}
}
