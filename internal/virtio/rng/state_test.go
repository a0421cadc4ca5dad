package rng_test

import (
	"testing"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/rng"
	"github.com/holtvm/holt/internal/virtiotest"
)

func TestState(t *testing.T) {
	virtiotest.StateSuite(t, func(*testing.T) virtio.Device { return &rng.Device{} }, func(t *testing.T, d *virtiotest.Driver, _ bool) {
		if got := d.Queue(0).Do(nil, 64); len(got) != 64 {
			t.Errorf("got %d bytes", len(got))
		}
	})
}
