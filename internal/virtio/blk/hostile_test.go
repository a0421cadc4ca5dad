package blk_test

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtio/blk"
	"github.com/holtvm/holt/internal/virtio/queue"
	"github.com/holtvm/holt/internal/virtiotest"
)

// TestRefusedRequests: what is not within the disk changes nothing, on the disk or
// in the room for data, and the next request is served.
func TestRefusedRequests(t *testing.T) {
	const sectors = 64
	const last = math.MaxUint64
	sector := make([]byte, 512)
	many := bytes.Repeat(segment(0, 1, 0), 33)
	for _, c := range []struct {
		name    string
		request []byte
		room    int
		want    byte
	}{
		{"read past the end", header(typeIn, sectors), 512, ioErr},
		{"read across the end", header(typeIn, sectors-1), 1024, ioErr},
		{"read at a sector whose offset wraps", header(typeIn, 1<<55), 512, ioErr},
		{"read up to a sector that wraps", header(typeIn, last), 512, ioErr},
		{"read of half a sector", header(typeIn, 0), 256, ioErr},
		{"read of a sector and a byte", header(typeIn, 0), 513, ioErr},
		{"read of nothing far away", header(typeIn, last), 0, ioErr},
		{"read of nothing at the end", header(typeIn, sectors), 0, ok},
		{"write past the end", join(header(typeOut, sectors), sector), 0, ioErr},
		{"write across the end", join(header(typeOut, sectors-1), sector, sector), 0, ioErr},
		{"write at a sector whose offset wraps", join(header(typeOut, 1<<55), sector), 0, ioErr},
		{"write up to a sector that wraps", join(header(typeOut, last), sector), 0, ioErr},
		{"write of half a sector", join(header(typeOut, 0), sector[:256]), 0, ioErr},
		{"write of nothing", header(typeOut, 0), 0, ok},
		{"discard of nothing named", header(typeDiscard, 0), 0, ioErr},
		{"discard of half a range", join(header(typeDiscard, 0), segment(0, 1, 0)[:8]), 0, ioErr},
		{"discard past the end", join(header(typeDiscard, 0), segment(sectors, 1, 0)), 0, ioErr},
		{"discard across the end", join(header(typeDiscard, 0), segment(sectors-1, 2, 0)), 0, ioErr},
		{"discard that wraps", join(header(typeDiscard, 0), segment(last, 2, 0)), 0, ioErr},
		{"discard of 2 TiB", join(header(typeDiscard, 0), segment(0, math.MaxUint32, 0)), 0, ioErr},
		{"a good discard, and one past the end", join(header(typeDiscard, 0), segment(0, 8, 0), segment(sectors, 8, 0)), 0, ioErr},
		{"discard with the unmap flag", join(header(typeDiscard, 0), segment(0, 8, 1)), 0, unsupported},
		{"discard with a flag that is none", join(header(typeDiscard, 0), segment(0, 8, 2)), 0, unsupported},
		{"too many ranges", join(header(typeDiscard, 0), many), 0, ioErr},
		{"zeroes past the end", join(header(typeWriteZeroes, 0), segment(sectors, 1, 0)), 0, ioErr},
		{"zeroes that wrap", join(header(typeWriteZeroes, 0), segment(last-7, 16, 1)), 0, ioErr},
		{"zeroes with a flag that is none", join(header(typeWriteZeroes, 0), segment(0, 8, 3)), 0, unsupported},
		{"two ranges of zeroes", join(header(typeWriteZeroes, 0), segment(0, 8, 0), segment(8, 8, 0)), 0, ioErr},
		{"secure erase", join(header(14, 0), segment(0, 8, 0)), 0, unsupported},
		{"a SCSI command", header(2, 0), 512, unsupported},
		{"a type that is none", header(0xffffffff, 0), 512, unsupported},
		{"an id with little room", header(typeGetID, last), 3, ok},
		{"an id with much room", header(typeGetID, 0), 600, ok},
	} {
		t.Run(c.name, func(t *testing.T) {
			content := pattern(sectors)
			path := imageFile(t, content)
			dev := newDevice(t, openImage(t, path, false), blk.Options{Serial: "serial"})
			q := virtiotest.Start(t, dev, virtiotest.Options{Features: all}).Queue(0)
			data, status, used := send(t, q, c.request, c.room)
			if status != c.want || used > uint32(c.room)+1 {
				t.Errorf("status %d, want %d; %d bytes", status, c.want, used)
			}
			if status != ok && !bytes.Equal(data, make([]byte, c.room)) {
				t.Error("a refused request wrote data")
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("the image changed to %d bytes (%v)", len(got), err)
			}
			if got, status, _ := send(t, q, header(typeIn, 1), 512); status != ok || !bytes.Equal(got, content[512:1024]) {
				t.Errorf("the next request: status %d", status)
			}
		})
	}
}

// TestMuchData: the same memory may be named many times, to have a large disk copied
// there. As much as was announced is served, and not a sector more.
func TestMuchData(t *testing.T) {
	dev := newDevice(t, newSlowDisk(1<<50), blk.Options{})
	q := virtiotest.Start(t, dev, virtiotest.Options{Features: all}).Queue(0)
	config := make([]byte, 60)
	dev.ReadConfig(0, config)
	sizeMax, segMax := int(le.Uint32(config[8:])), int(le.Uint32(config[12:]))
	status, room := q.Writable(1), q.Writable(sizeMax+512)
	for _, kind := range []uint32{typeIn, typeOut} {
		room.Write = kind == typeIn
		for _, x := range []struct {
			more int
			want byte
		}{{0, ok}, {512, ioErr}} {
			room.Len = sizeMax
			chain := append([]virtiotest.Buf{q.Readable(header(kind, 1<<20))}, slices.Repeat([]virtiotest.Buf{room}, segMax)...)
			chain[1].Len += x.more
			q.Offer(q.Chain(append(chain, status)...))
			q.Kick()
			q.WaitUsed()
			if got := q.Bytes(status.Addr, 1)[0]; got != x.want {
				t.Errorf("type %d with %d bytes more: status %d, want %d", kind, x.more, got, x.want)
			}
		}
	}
}

// TestLimits: a range may be within a large disk and yet longer than announced.
func TestLimits(t *testing.T) {
	disk := newSlowDisk(1 << 50)
	dev := newDevice(t, disk, blk.Options{})
	q := virtiotest.Start(t, dev, virtiotest.Options{Features: all}).Queue(0)
	config := make([]byte, 60)
	dev.ReadConfig(0, config)
	for _, c := range []struct {
		kind     uint32
		sectors  uint32
		segments uint32
	}{{typeDiscard, le.Uint32(config[36:]), le.Uint32(config[40:])}, {typeWriteZeroes, le.Uint32(config[48:]), le.Uint32(config[52:])}} {
		for _, x := range []struct {
			sectors, segments uint32
			want              byte
		}{{c.sectors, c.segments, ok}, {c.sectors + 1, 1, ioErr}, {1, c.segments + 1, ioErr}} {
			ranges := bytes.Repeat(segment(1<<40, x.sectors, 0), int(x.segments))
			if _, status, _ := send(t, q, join(header(c.kind, 0), ranges), 0); status != x.want {
				t.Errorf("type %d: %d ranges of %d sectors: status %d, want %d", c.kind, x.segments, x.sectors, status, x.want)
			}
		}
	}
}

// TestReadOnlyDisk: no request writes, though the file itself could be written.
func TestReadOnlyDisk(t *testing.T) {
	content := pattern(64)
	path := imageFile(t, content)
	dev := newDevice(t, openImage(t, path, false), blk.Options{ReadOnly: true})
	q := virtiotest.Start(t, dev, virtiotest.Options{Features: all}).Queue(0)
	for _, c := range []struct {
		request []byte
		want    byte
	}{
		{join(header(typeOut, 0), make([]byte, 512)), ioErr},
		{join(header(typeDiscard, 0), segment(0, 8, 0)), unsupported},
		{join(header(typeWriteZeroes, 0), segment(0, 8, 1)), unsupported},
		{header(typeFlush, 0), ok},
	} {
		if _, status, _ := send(t, q, c.request, 0); status != c.want {
			t.Errorf("type %d: status %d, want %d", c.request[0], status, c.want)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the image changed (%v)", err)
	}
}

// TestNotNegotiated: a driver may not use what it did not accept.
func TestNotNegotiated(t *testing.T) {
	disk := newSlowDisk(1 << 20)
	q := virtiotest.Start(t, newDevice(t, disk, blk.Options{}), virtiotest.Options{Features: flush}).Queue(0)
	for _, kind := range []uint32{typeDiscard, typeWriteZeroes} {
		if _, status, _ := send(t, q, join(header(kind, 0), segment(0, 8, 0)), 0); status != unsupported {
			t.Errorf("type %d: status %d", kind, status)
		}
	}
}

// TestShapeless: chains that cannot even be refused break their queue, and no other.
func TestShapeless(t *testing.T) {
	for name, bufs := range map[string]func(q *virtiotest.Ring) []virtiotest.Buf{
		"nothing at all": func(q *virtiotest.Ring) []virtiotest.Buf { return []virtiotest.Buf{q.Readable(nil)} },
		"no header":      func(q *virtiotest.Ring) []virtiotest.Buf { return []virtiotest.Buf{q.Writable(513)} },
		"most of a header": func(q *virtiotest.Ring) []virtiotest.Buf {
			return []virtiotest.Buf{q.Readable(make([]byte, 15)), q.Writable(513)}
		},
		"no room": func(q *virtiotest.Ring) []virtiotest.Buf { return []virtiotest.Buf{q.Readable(header(typeFlush, 0))} },
		"room of no bytes": func(q *virtiotest.Ring) []virtiotest.Buf {
			return []virtiotest.Buf{q.Readable(header(typeFlush, 0)), q.Writable(0)}
		},
		"write, and no room": func(q *virtiotest.Ring) []virtiotest.Buf {
			return []virtiotest.Buf{q.Readable(join(header(typeOut, 0), make([]byte, 512)))}
		},
		"outside guest memory": func(q *virtiotest.Ring) []virtiotest.Buf {
			return []virtiotest.Buf{q.Readable(header(typeIn, 0)), {Addr: 1 << 40, Len: 513, Write: true}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			content := pattern(64)
			path := imageFile(t, content)
			dev := newDevice(t, openImage(t, path, false), blk.Options{Queues: 2})
			d := virtiotest.Start(t, dev, virtiotest.Options{Features: all})
			q := d.Queue(0)
			q.Offer(q.Chain(bufs(q)...))
			q.Kick()
			if err := q.WaitBroken(); !errors.Is(err, queue.ErrBroken) {
				t.Error(err)
			}
			if got, status, _ := send(t, d.Queue(1), header(typeIn, 1), 512); status != ok || !bytes.Equal(got, content[512:1024]) {
				t.Errorf("the other queue: status %d", status)
			}
			d.Stop()
			d.Restart()
			if _, status, _ := send(t, d.Queue(0), header(typeIn, 1), 512); status != ok {
				t.Errorf("after a reset: status %d", status)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("the image changed (%v)", err)
			}
		})
	}
}

// TestGiantSegmentList: a thousand buffers, more than were announced and more than
// one system call takes, which all are the same page.
func TestGiantSegmentList(t *testing.T) {
	content := pattern(8 * 1022)
	dev := newDevice(t, openImage(t, imageFile(t, content), false), blk.Options{})
	q := virtiotest.Start(t, dev, virtiotest.Options{Features: all}).Queue(0)
	page, end := q.Writable(4096), q.Writable(1)
	bufs := []virtiotest.Buf{q.Readable(header(typeIn, 0))}
	for range 1022 {
		bufs = append(bufs, page)
	}
	q.Offer(q.Indirect(append(bufs, end)...))
	q.Kick()
	if used := q.WaitUsed(); used.Len != 1022*4096+1 {
		t.Errorf("%d bytes", used.Len)
	}
	if !bytes.Equal(q.Bytes(page.Addr, 4096), content[1021*4096:]) || q.Bytes(end.Addr, 1)[0] != ok {
		t.Error("the page is not the last one of the disk")
	}
}

// TestRequestsInFlightAreBounded: each may hold a thread of the host, and a guest can
// offer hundreds on every queue. None is lost.
func TestRequestsInFlightAreBounded(t *testing.T) {
	const limit, offered = 64, 100
	disk := newSlowDisk(1 << 20)
	d := virtiotest.Start(t, newDevice(t, disk, blk.Options{Queues: 2}), virtiotest.Options{Features: all})
	disk.hold()
	kicked := make(chan struct{})
	for i := range 2 {
		q := d.Queue(i)
		for range offered {
			q.Offer(q.Chain(q.Readable(header(typeFlush, 0)), q.Writable(1)))
		}
		go func() {
			q.Kick()
			kicked <- struct{}{}
		}()
	}
	for deadline := time.Now().Add(virtiotest.WaitTimeout); disk.active.Load() < limit-2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d requests are worked on", disk.active.Load())
		}
	}
	time.Sleep(20 * time.Millisecond)
	disk.release()
	for range 2 {
		<-kicked
	}
	for i := range 2 {
		for range offered {
			d.Queue(i).WaitUsed()
		}
	}
	if n := disk.most.Load(); n > limit {
		t.Errorf("%d requests at a time", n)
	}
}

// TestBrokenHostDisk: the guest gets an I/O error, and the log says why, but not as
// often as the guest tries.
func TestBrokenHostDisk(t *testing.T) {
	disk := newSlowDisk(1 << 20)
	disk.fail.Store(true)
	var log bytes.Buffer
	dev, err := blk.New(disk, blk.Options{}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	q := virtiotest.Start(t, dev, virtiotest.Options{Features: all}).Queue(0)
	requests := [][]byte{
		header(typeIn, 0), header(typeFlush, 0), join(header(typeOut, 0), make([]byte, 512)),
		join(header(typeDiscard, 0), segment(0, 8, 0)), join(header(typeWriteZeroes, 0), segment(0, 8, 0)),
	}
	for range 100 {
		for _, request := range requests {
			room := 0
			if request[0] == typeIn {
				room = 512
			}
			if _, status, used := send(t, q, request, room); status != ioErr || used > 1 {
				t.Fatalf("type %d: status %d, %d bytes", request[0], status, used)
			}
		}
	}
	if n := strings.Count(log.String(), errDisk.Error()); n == 0 || n > 50 {
		t.Errorf("%d lines in the log", n)
	}
}
