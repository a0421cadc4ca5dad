package balloon_test

import (
	"testing"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtiotest"
)

func FuzzDevice(f *testing.F) {
	virtiotest.FuzzDevice(f, func(*testing.T) virtio.Device { return newDevice() },
		[][]byte{numbers(12, 13, 14), numbers(^uint32(0)), numbers(0, 1, 2, 3)})
}

func FuzzLoadState(f *testing.F) {
	virtiotest.FuzzState(f, func(testing.TB) virtio.Device { return newDevice() })
}
