package rng_test

import (
	"bytes"
	"testing"

	"github.com/holtvm/holt/internal/virtio/rng"
	"github.com/holtvm/holt/internal/virtiotest"
)

func TestFillsBuffers(t *testing.T) {
	d := virtiotest.Start(t, &rng.Device{}, virtiotest.Options{})
	var last []byte
	for range 200 { // more than the queue's size
		got := d.Queue(0).Do(nil, 64)
		if len(got) != 64 || bytes.Equal(got, make([]byte, 64)) || bytes.Equal(got, last) {
			t.Fatalf("got %d bytes %x", len(got), got)
		}
		last = bytes.Clone(got)
	}
}

func TestBoundsARequest(t *testing.T) {
	d := virtiotest.Start(t, &rng.Device{}, virtiotest.Options{})
	if got := d.Queue(0).Do(nil, 1<<20); len(got) != 64<<10 {
		t.Fatalf("one request got %d bytes", len(got))
	}
	if got := d.Queue(0).Do([]byte("no room at all"), 0); len(got) != 0 {
		t.Fatalf("wrote %d bytes into no room", len(got))
	}
}

func TestBrokenQueueStops(t *testing.T) {
	d := virtiotest.Start(t, &rng.Device{}, virtiotest.Options{})
	q := d.Queue(0)
	q.SetDesc(0, 1<<40, 64, virtiotest.DescWrite, 0)
	q.Offer(0)
	q.Kick()
	q.WaitBroken()
	d.Stop()
	d.Restart()
	if got := d.Queue(0).Do(nil, 16); len(got) != 16 {
		t.Fatalf("after a reset: %d bytes", len(got))
	}
}
