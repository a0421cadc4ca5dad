package balloon_test

import (
	"bytes"
	"testing"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtiotest"
)

func TestState(t *testing.T) {
	virtiotest.StateSuite(t, func(*testing.T) virtio.Device { return newDevice() }, func(t *testing.T, d *virtiotest.Driver, again bool) {
		actual := make([]byte, 4)
		d.Dev.ReadConfig(4, actual)
		want := []byte{0, 0, 0, 0}
		if again {
			want = []byte{1, 2, 0, 0}
		}
		if !bytes.Equal(actual, want) {
			t.Errorf("the balloon has % x pages, want % x", actual, want)
		}
		d.Dev.WriteConfig(4, []byte{1, 2, 0, 0})
		d.Queue(inflateq).Do(numbers(hugeBlock/page), 0)
		q := d.Queue(reporting)
		q.Offer(q.Chain(virtiotest.Buf{Addr: hugeBlock, Len: hugeBlock, Write: true}))
		q.Kick()
		q.WaitUsed()
	})
}
