package fs_test

import (
	"testing"

	"github.com/holtvm/holt/internal/virtio/fs"
	"github.com/holtvm/holt/internal/virtiotest"
)

func TestCounters(t *testing.T) {
	dev, err := fs.New("root", 1, &echo{})
	if err != nil {
		t.Fatal(err)
	}
	d := virtiotest.Start(t, dev, virtiotest.Options{QueueSize: 128})
	d.Queue(1).Do(request(1, "12345678"), 10) // a request of 16 bytes
	d.Queue(0).Do(request(2, ""), 0)          // of 8, without an answer
	if got, want := dev.Counters(), (fs.Counters{Requests: 2, FromGuest: 24, ToGuest: 10}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}
