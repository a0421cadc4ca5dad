package console_test

import (
	"io"
	"testing"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/console"
	"github.com/holtvm/holt/internal/virtiotest"
)

// FuzzDevice has the host type all the while.
func FuzzDevice(f *testing.F) {
	virtiotest.FuzzDevice(f, func(t *testing.T) virtio.Device {
		c := console.New(io.Discard, 80, 25)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				if _, err := c.Write([]byte("what the host types")); err != nil {
					return
				}
			}
		}()
		t.Cleanup(func() {
			c.Close()
			<-ended
		})
		return c
	}, [][]byte{[]byte("hello\n"), []byte("world\n")})
}

func FuzzLoadState(f *testing.F) {
	virtiotest.FuzzState(f, func(testing.TB) virtio.Device { return console.New(io.Discard, 80, 25) })
}
