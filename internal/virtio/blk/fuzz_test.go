package blk_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/diskimage"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/blk"
	"github.com/holtvm/holt/internal/virtiotest"
)

const fuzzSectors = 64 // of the disk, which is half of its file, or all

// fuzzDisk is the beginning of a file, as a disk.
type fuzzDisk struct{ *diskimage.File }

func (fuzzDisk) Size() int64 { return fuzzSectors * 512 }

// memoryFile makes a file that holds content in memory, and returns its path: for a
// real disk the fuzzer would do little but wait.
func memoryFile(f *testing.F, content []byte) string {
	fd, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC)
	if err != nil {
		f.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "disk")
	f.Cleanup(func() { file.Close() })
	if _, err := file.Write(content); err != nil {
		f.Fatal(err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd)
}

// FuzzDevice has a real file behind it, which must never grow, and never change
// behind the disk's end.
func FuzzDevice(f *testing.F) {
	content := pattern(2 * fuzzSectors)
	path := memoryFile(f, content)
	disk := fuzzDisk{openImage(f, path, false)}
	f.Add(readImage(3, 512), byte(0))
	f.Add(readImage(fuzzSectors-1, 1024), byte(1))
	virtiotest.FuzzDevice(f, func(t *testing.T) virtio.Device {
		t.Cleanup(func() { // the device is stopped by then
			got, err := os.ReadFile(path)
			if err != nil || len(got) != len(content) || !bytes.Equal(got[fuzzSectors*512:], content[fuzzSectors*512:]) {
				t.Errorf("the file has %d bytes, or others than before (%v)", len(got), err)
			}
		})
		return newDevice(t, disk, blk.Options{Serial: "fuzz", Queues: 2})
	}, fuzzRequests()...)
}

// FuzzReadOnly is the same with a read-only disk, which must not change at all.
func FuzzReadOnly(f *testing.F) {
	content := pattern(fuzzSectors)
	path := memoryFile(f, content)
	disk := fuzzDisk{openImage(f, path, false)}
	f.Add(readImage(3, 512), byte(0))
	virtiotest.FuzzDevice(f, func(t *testing.T) virtio.Device {
		t.Cleanup(func() {
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("the file changed (%v)", err)
			}
		})
		return newDevice(t, disk, blk.Options{ReadOnly: true})
	}, fuzzRequests()...)
}

func fuzzRequests() [][][]byte {
	sector := make([]byte, 512)
	return [][][]byte{
		{join(header(typeOut, fuzzSectors-1), sector), header(typeFlush, 0), header(typeGetID, 0)},
		{join(header(typeOut, fuzzSectors), sector), join(header(typeOut, fuzzSectors-1), sector, sector), join(header(typeOut, 1<<55), sector)},
		{join(header(typeDiscard, 0), segment(8, 8, 0), segment(fuzzSectors-1, 1, 0)), join(header(typeDiscard, 0), segment(fuzzSectors, 1, 0))},
		{join(header(typeWriteZeroes, 0), segment(1, 3, 0), segment(8, 16, 1)), join(header(typeWriteZeroes, 0), segment(fuzzSectors-1, 2, 1))},
	}
}

// readImage is guest memory as virtiotest.FuzzDevice lays it out, with one read on
// the first queue: its requests have no room of whole sectors and a byte.
func readImage(sector uint64, n uint32) []byte {
	const entries, data = 16, 8 << 10
	b := make([]byte, data+16)
	copy(b[data:], header(typeIn, sector))
	virtiotest.PutDesc(b, data, 16, virtiotest.DescNext, 1)
	virtiotest.PutDesc(b[16:], data+16, n+1, virtiotest.DescWrite, 0)
	b[16*entries+2] = 1 // avail.idx
	return b
}

func FuzzLoadState(f *testing.F) {
	disk := newSlowDisk(1 << 20)
	virtiotest.FuzzState(f, func(t testing.TB) virtio.Device {
		return newDevice(t, disk, blk.Options{Serial: "s", Queues: 2})
	})
}
