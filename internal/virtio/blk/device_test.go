package blk_test

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/diskimage"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/blk"
	"github.com/holtvm/holt/internal/virtiotest"
)

// Request types, statuses and features as the specification has them (virtio 1.2,
// 5.2.3 and 5.2.6).
const (
	typeIn, typeOut, typeFlush, typeGetID, typeDiscard, typeWriteZeroes = 0, 1, 4, 8, 11, 13

	ok, ioErr, unsupported = 0, 1, 2

	readOnly, flush, mq, discard, writeZeroes uint64 = 1 << 5, 1 << 9, 1 << 12, 1 << 13, 1 << 14

	all = ^uint64(0)
)

var le = binary.LittleEndian

// header is the first 16 bytes of a request.
func header(kind uint32, sector uint64) []byte {
	b := le.AppendUint32(nil, kind)
	return le.AppendUint64(append(b, 0, 0, 0, 0), sector)
}

// segment is a range of a discard or write-zeroes request.
func segment(sector uint64, sectors, flags uint32) []byte {
	return le.AppendUint32(le.AppendUint32(le.AppendUint64(nil, sector), sectors), flags)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// imageFile makes an image that holds content.
func imageFile(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openImage(t testing.TB, path string, readOnly bool) *diskimage.File {
	t.Helper()
	f, err := diskimage.Open(path, readOnly)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func newDevice(t testing.TB, disk blk.Disk, opts blk.Options) *blk.Device {
	t.Helper()
	dev, err := blk.New(disk, opts, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// pattern is content in which every sector differs.
func pattern(sectors int) []byte {
	b := make([]byte, 512*sectors)
	for i := range b {
		b[i] = byte(i/512 + i%512*7)
	}
	return b
}

// send does one request: header and data in one buffer, room for an answer and the
// status in another. It returns what is in the room, the status and the used length.
func send(t testing.TB, q *virtiotest.Ring, request []byte, room int) (data []byte, status byte, used uint32) {
	t.Helper()
	in := q.Writable(room + 1)
	q.Bytes(in.Addr, in.Len)[room] = 0xee
	q.Offer(q.Chain(q.Readable(request), in))
	q.Kick()
	used = q.WaitUsed().Len
	b := q.Bytes(in.Addr, in.Len)
	return b[:room], b[room], used
}

func TestReadWriteAndKin(t *testing.T) {
	const sectors = 64
	want := pattern(sectors)
	path := imageFile(t, want)
	dev := newDevice(t, openImage(t, path, false), blk.Options{Serial: "a serial"})
	d := virtiotest.Start(t, dev, virtiotest.Options{Features: all})
	q := d.Queue(0)

	if got, status, used := send(t, q, header(typeIn, 5), 3*512); status != ok || used != 3*512+1 || !bytes.Equal(got, want[5*512:8*512]) {
		t.Errorf("read: status %d, %d bytes", status, used)
	}
	news := bytes.Repeat([]byte("new!"), 2*512/4)
	if _, status, used := send(t, q, join(header(typeOut, sectors-2), news), 0); status != ok || used != 1 {
		t.Errorf("write: status %d, %d bytes", status, used)
	}
	copy(want[(sectors-2)*512:], news)
	if _, status, _ := send(t, q, header(typeFlush, 0), 0); status != ok {
		t.Errorf("flush: status %d", status)
	}
	if _, status, _ := send(t, q, join(header(typeDiscard, 0), segment(8, 8, 0)), 0); status != ok {
		t.Errorf("discard: status %d", status)
	}
	for _, zeroes := range [][]byte{segment(1, 2, 0), segment(16, 8, 1), segment(4, 0, 0)} {
		if _, status, _ := send(t, q, join(header(typeWriteZeroes, 0), zeroes), 0); status != ok {
			t.Errorf("write zeroes: status %d", status)
		}
	}
	clear(want[1*512 : 3*512])
	clear(want[16*512 : 24*512])
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(want[8*512:16*512], got[8*512:]) // discarded: anything
	if !bytes.Equal(got, want) {
		t.Error("the image is not what was written")
	}
	if id, status, used := send(t, q, header(typeGetID, 0), 20); status != ok || used != 21 || string(id) != "a serial"+string(make([]byte, 12)) {
		t.Errorf("id %q, status %d, %d bytes", id, status, used)
	}
}

// TestAnyLayout cuts requests into buffers where no driver that we know does.
func TestAnyLayout(t *testing.T) {
	want := pattern(16)
	dev := newDevice(t, openImage(t, imageFile(t, want), false), blk.Options{})
	for name, cut := range map[string]func(q *virtiotest.Ring, out []byte, in int) []virtiotest.Buf{
		"status alone": func(q *virtiotest.Ring, out []byte, in int) []virtiotest.Buf {
			return []virtiotest.Buf{q.Readable(out[:16]), q.Readable(out[16:]), q.Writable(in - 1), q.Writable(1)}
		},
		"header in pieces": func(q *virtiotest.Ring, out []byte, in int) []virtiotest.Buf {
			return []virtiotest.Buf{q.Readable(out[:3]), q.Readable(out[3:15]), q.Readable(out[15:]), q.Writable(in)}
		},
		"bytes": func(q *virtiotest.Ring, out []byte, in int) (bufs []virtiotest.Buf) {
			for i := range out[:20] {
				bufs = append(bufs, q.Readable(out[i:i+1]))
			}
			bufs = append(bufs, q.Readable(out[20:]))
			for range 100 {
				bufs = append(bufs, q.Writable(1))
			}
			return append(bufs, q.Writable(in-100))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := virtiotest.Start(t, dev, virtiotest.Options{Features: all})
			q := d.Queue(0)
			for _, chain := range []func(...virtiotest.Buf) uint16{q.Chain, q.Indirect} {
				bufs := cut(q, join(header(typeIn, 3), make([]byte, 5)), 1024+1)
				q.Offer(chain(bufs...))
				q.Kick()
				if used := q.WaitUsed(); used.Len != 1025 {
					t.Errorf("%d bytes were written", used.Len)
				}
				var got []byte
				for _, b := range bufs {
					if b.Write {
						got = append(got, q.Bytes(b.Addr, b.Len)...)
					}
				}
				if !bytes.Equal(got, append(bytes.Clone(want[3*512:5*512]), ok)) {
					t.Error("other bytes were read")
				}
				bufs = cut(q, join(header(typeOut, 3), want[3*512:4*512]), 200)
				q.Offer(chain(bufs...))
				q.Kick()
				q.WaitUsed()
				last := bufs[len(bufs)-1]
				if status := q.Bytes(last.Addr, last.Len)[last.Len-1]; status != ok {
					t.Errorf("write: status %d", status)
				}
			}
		})
	}
}

func TestOptions(t *testing.T) {
	disk := openImage(t, imageFile(t, pattern(10)), true)
	for _, c := range []struct {
		opts blk.Options
		ok   bool
	}{
		{blk.Options{}, true},
		{blk.Options{Serial: "12345678901234567890", Queues: blk.MaxQueues}, true},
		{blk.Options{Serial: "123456789012345678901"}, false},
		{blk.Options{Queues: blk.MaxQueues + 1}, false},
		{blk.Options{Queues: -1}, false},
	} {
		if _, err := blk.New(disk, c.opts, slog.New(slog.DiscardHandler)); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.opts, err)
		}
	}
}

func TestConfigSpace(t *testing.T) {
	disk := openImage(t, imageFile(t, pattern(10)), true)
	for _, c := range []struct {
		opts       blk.Options
		has, lacks uint64
	}{
		{blk.Options{}, flush | discard | writeZeroes, readOnly | mq},
		{blk.Options{ReadOnly: true, Queues: 3}, flush | readOnly | mq, discard | writeZeroes},
	} {
		dev := newDevice(t, disk, c.opts)
		if f := dev.Features(); f&c.has != c.has || f&c.lacks != 0 {
			t.Errorf("%+v: features %#x", c.opts, f)
		}
		b := make([]byte, 72)
		dev.ReadConfig(0, b)
		wantQueues := max(c.opts.Queues, 1)
		if sectors, block, queues := le.Uint64(b), le.Uint32(b[20:]), le.Uint16(b[34:]); sectors != 10 || block != 512 || int(queues) != wantQueues || len(dev.QueueSizes()) != wantQueues {
			t.Errorf("%+v: %d sectors, %d bytes each, %d queues", c.opts, sectors, block, queues)
		}
		if segs, size := le.Uint32(b[12:]), dev.QueueSizes()[0]; segs != uint32(size)-2 {
			t.Errorf("%d segments in a queue of %d", segs, size)
		}
		if can := le.Uint32(b[36:]) != 0 && le.Uint32(b[40:]) != 0 && le.Uint32(b[48:]) != 0; can == c.opts.ReadOnly {
			t.Errorf("%+v: discard limits %x", c.opts, b[36:60])
		}
		var _ virtio.Device = dev
	}
}

// TestWriteThrough: for a driver that did not accept FLUSH, what was answered is on
// the disk; for one that did, only what it flushed.
func TestWriteThrough(t *testing.T) {
	for _, c := range []struct {
		features uint64
		flushes  int
	}{{all &^ flush, 3}, {all, 0}} {
		disk := newSlowDisk(1 << 20)
		d := virtiotest.Start(t, newDevice(t, disk, blk.Options{}), virtiotest.Options{Features: c.features})
		q := d.Queue(0)
		for _, request := range [][]byte{
			join(header(typeOut, 0), make([]byte, 512)),
			join(header(typeDiscard, 0), segment(0, 8, 0)),
			join(header(typeWriteZeroes, 0), segment(0, 8, 0)),
			header(typeIn, 0),
		} {
			if _, status, _ := send(t, q, request, 0); status != ok {
				t.Errorf("%d: status %d", request[0], status)
			}
		}
		if n := int(disk.flushes.Load()); n != c.flushes {
			t.Errorf("features %#x: %d flushes", c.features, n)
		}
	}
}

// TestSlowFlushHoldsUpNobody, and neither do slow writes.
func TestSlowFlushHoldsUpNobody(t *testing.T) {
	disk := newSlowDisk(1 << 20)
	d := virtiotest.Start(t, newDevice(t, disk, blk.Options{}), virtiotest.Options{Features: all})
	q := d.Queue(0)
	disk.hold()
	rooms := map[uint32]virtiotest.Buf{}
	for _, request := range [][]byte{header(typeFlush, 0), join(header(typeOut, 0), make([]byte, 512))} {
		in := q.Writable(1)
		head := q.Chain(q.Readable(request), in)
		rooms[uint32(head)] = in
		q.Offer(head)
	}
	q.Kick()
	for range 50 {
		if _, status, used := send(t, q, header(typeIn, 7), 512); status != ok || used != 513 {
			t.Fatalf("read: status %d, %d bytes", status, used)
		}
	}
	disk.release()
	for range 2 {
		delete(rooms, q.WaitUsed().ID)
	}
	if len(rooms) != 0 {
		t.Errorf("not answered: %v", rooms)
	}
}

// TestStopWaitsForRequests: after StopQueue nothing may write guest memory, on any
// of the queues, and the next driver is served.
func TestStopWaitsForRequests(t *testing.T) {
	disk := newSlowDisk(1 << 20)
	dev := newDevice(t, disk, blk.Options{Queues: 2})
	d := virtiotest.Start(t, dev, virtiotest.Options{Features: all})
	disk.hold()
	q := d.Queue(1)
	q.Offer(q.Chain(q.Readable(header(typeFlush, 0)), q.Writable(1)))
	q.Kick()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		d.Stop()
	}()
	select {
	case <-stopped:
		t.Fatal("StopQueue did not wait")
	case <-time.After(30 * time.Millisecond):
	}
	disk.release()
	<-stopped
	if n := disk.active.Load(); n != 0 {
		t.Errorf("%d requests still run", n)
	}
	d.Restart()
	for i := range 2 {
		if _, status, _ := send(t, d.Queue(i), header(typeFlush, 0), 0); status != ok {
			t.Errorf("after a restart: queue %d: status %d", i, status)
		}
	}
}
