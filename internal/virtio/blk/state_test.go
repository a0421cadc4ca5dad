package blk_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/diskimage"
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

// TestStateAboveACopy: two machines go on from the state of a disk, each with an overlay
// of its own above a copy of it; so does the first one with the disk.
func TestStateAboveACopy(t *testing.T) {
	disk := openImage(t, imageFile(t, pattern(64)), false)
	opts := blk.Options{Serial: "root", Queues: 2}
	d := virtiotest.Start(t, newDevice(t, disk, opts), virtiotest.Options{Features: ^uint64(0)})
	sector := func(c byte) []byte { return bytes.Repeat([]byte{c}, 512) }
	write := func(at uint64, c byte) {
		t.Helper()
		if _, status, _ := send(t, d.Queue(1), join(header(typeOut, at), sector(c)), 0); status != ok {
			t.Errorf("write: status %d", status)
		}
	}
	read := func(at uint64, c byte) {
		t.Helper()
		if got, status, _ := send(t, d.Queue(0), header(typeIn, at), 512); status != ok || !bytes.Equal(got, sector(c)) {
			t.Errorf("sector %d does not have %q: status %d", at, c, status)
		}
	}
	write(9, 'a')
	d.Pause()
	original := d.Dev
	state, err := original.SaveState()
	if err != nil {
		t.Fatal(err)
	}
	base, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	if err := disk.CopyTo(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	for _, c := range []byte("bc") {
		overlay, err := diskimage.OpenOverlay(base, disk.Size(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer overlay.Close()
		dev := newDevice(t, overlay, opts)
		if err := dev.LoadState(state); err != nil {
			t.Fatal(err)
		}
		if again, err := dev.SaveState(); err != nil || !bytes.Equal(again, state) {
			t.Errorf("the state is %s, it was %s: %v", again, state, err)
		}
		d.Resume(dev)
		read(9, 'a')
		write(10, c)
		read(10, c)
		read(9, 'a')
		d.Pause()
	}
	d.Resume(original)
	if got, _, _ := send(t, d.Queue(0), header(typeIn, 10), 512); !bytes.Equal(got, pattern(64)[10*512:11*512]) {
		t.Error("the original has what a copy wrote")
	}
}
