package balloon_test

import (
	"testing"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio/queue"
	"github.com/holtvm/holt/internal/virtiotest"
)

// TestRingsGiveThemselvesAway: a driver may report or inflate the very pages that
// its rings and requests are in. It loses them, and nobody else loses anything.
func TestRingsGiveThemselvesAway(t *testing.T) {
	for _, i := range []int{inflateq, reporting} {
		d := virtiotest.Start(t, newDevice(), virtiotest.Options{})
		q := d.Queue(i)
		for range 3 {
			if i == inflateq {
				var all []uint32
				for n := range uint32(64) {
					all = append(all, n)
				}
				q.Offer(q.Chain(q.Readable(numbers(all...))))
			} else {
				q.Offer(q.Chain(virtiotest.Buf{Addr: 0, Len: virtiotest.MemorySize, Write: true}))
			}
			q.Kick()
		}
		d.Stop()
		d.Restart()
		d.Queue(deflateq).Do(numbers(1), 0)
	}
}

// TestReportOutsideMemory: a block that is not wholly guest memory stops the queue,
// and nothing of it goes.
func TestReportOutsideMemory(t *testing.T) {
	for _, block := range []virtiotest.Buf{
		{Addr: virtiotest.MemorySize - page, Len: 2 * page, Write: true},
		{Addr: 1 << 40, Len: page, Write: true},
		{Addr: ^uint64(0) - page + 1, Len: 2 * page, Write: true},
	} {
		d := start(t, hugeBlock)
		q := d.Queue(reporting)
		q.Offer(q.Chain(block))
		q.Kick()
		q.WaitBroken()
		if zero(t, d, virtiotest.MemorySize-page, page) {
			t.Errorf("%+v: what is guest memory of it is gone", block)
		}
	}
}

// TestReadablePagesStay: only device-writable buffers are reports.
func TestReadablePagesStay(t *testing.T) {
	d := start(t, hugeBlock)
	q := d.Queue(reporting)
	q.Offer(q.Chain(virtiotest.Buf{Addr: hugeBlock, Len: hugeBlock}))
	q.Kick()
	q.WaitUsed()
	if zero(t, d, hugeBlock, hugeBlock) {
		t.Error("a readable buffer was discarded")
	}
}

// TestReportAcrossRegions: a block that two regions of memory hold goes from both.
func TestReportAcrossRegions(t *testing.T) {
	mem, err := guestmem.Map([]guestmem.Region{{Size: hugeBlock}, {GuestAddr: hugeBlock, Size: hugeBlock}})
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	r := virtiotest.NewRing(t, mem, 0, 16)
	r.SetDesc(0, hugeBlock-page, 2*page, virtiotest.DescWrite, 0)
	r.SetAvailIdx(1)
	q, err := queue.New(mem, r.Config(false), r)
	if err != nil {
		t.Fatal(err)
	}
	var ends [][]byte
	for _, addr := range []uint64{hugeBlock - 1, hugeBlock} {
		b, _ := mem.Slice(addr, 1)
		b[0] = 1
		ends = append(ends, b)
	}
	d := newDevice()
	d.StartQueue(reporting, q)
	d.Kick(reporting)
	d.StopQueue(reporting)
	if ends[0][0] != 0 || ends[1][0] != 0 {
		t.Errorf("of a block over a border %d and %d are left", ends[0][0], ends[1][0])
	}
}
