package blk_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/blk"
	"github.com/holtvm/holt/internal/virtiotest"
)

func TestState(t *testing.T) {
	disk := openImage(t, imageFile(t, pattern(64)), false)
	same := func(t *testing.T) virtio.Device { return newDevice(t, disk, blk.Options{Serial: "s\xff", Queues: 2}) }
	news := bytes.Repeat([]byte("n"), 512)
	virtiotest.StateSuite(t, same, func(t *testing.T, d *virtiotest.Driver, again bool) {
		if !again {
			if _, status, _ := send(t, d.Queue(0), join(header(typeOut, 9), news), 0); status != ok {
				t.Errorf("write: status %d", status)
			}
		}
		for i := range 2 {
			if got, status, _ := send(t, d.Queue(i), header(typeIn, 9), 512); status != ok || !bytes.Equal(got, news) {
				t.Errorf("queue %d: status %d", i, status)
			}
		}
	})
}

func TestStateOfAnotherDevice(t *testing.T) {
	small, large := newSlowDisk(1<<20), newSlowDisk(1<<21)
	state, err := newDevice(t, small, blk.Options{Serial: "one", Queues: 2}).SaveState()
	if err != nil {
		t.Fatal(err)
	}
	for name, dev := range map[string]*blk.Device{
		"size":      newDevice(t, large, blk.Options{Serial: "one", Queues: 2}),
		"serial":    newDevice(t, small, blk.Options{Serial: "two", Queues: 2}),
		"read-only": newDevice(t, small, blk.Options{Serial: "one", Queues: 2, ReadOnly: true}),
		"queues":    newDevice(t, small, blk.Options{Serial: "one"}),
	} {
		if err := dev.LoadState(state); err == nil || !strings.Contains(err.Error(), "2048 sectors") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
