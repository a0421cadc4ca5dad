package rng_test

import (
	"testing"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/rng"
	"github.com/holtvm/holt/internal/virtiotest"
)

func FuzzDevice(f *testing.F) {
	virtiotest.FuzzDevice(f, func(*testing.T) virtio.Device { return &rng.Device{} }, [][]byte{[]byte("x"), nil})
}
