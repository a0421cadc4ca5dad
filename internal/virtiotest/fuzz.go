package virtiotest

import (
	"bytes"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// The memory of FuzzDevice: rings of fuzzEntries first, one every fuzzRing bytes,
// then buffers.
const (
	fuzzMemory  = 64 << 10
	fuzzEntries = 16
	fuzzRing    = 1 << 10
	fuzzData    = 8 << 10

	// fuzzTime is how long a Kick may go on: rings that feed themselves never end.
	fuzzTime = 2 * time.Millisecond
)

// FuzzDevice fills guest memory, rings included, with the input, kicks every queue
// of a device that start makes, and stops it. The device may make of that what it likes,
// but it must come to an end, and whatever it touches outside guest memory ends
// the process. Each seed is a list of requests, which an honest driver offers on
// every queue, with room for an answer behind each.
func FuzzDevice(f *testing.F, start func(t *testing.T) virtio.Device, seeds ...[][]byte) {
	for _, requests := range append(seeds, nil, [][]byte{nil}) {
		f.Add(fuzzImage(f, requests), byte(0))
		f.Add(fuzzImage(f, requests), byte(1))
	}
	f.Fuzz(func(t *testing.T, image []byte, mode byte) {
		mem, err := guestmem.Map([]guestmem.Region{{Size: fuzzMemory}})
		if err != nil {
			t.Fatal(err)
		}
		all, _ := mem.Slice(0, fuzzMemory)
		copy(all, image)
		dev := start(t)
		dev.SetFeatures(dev.Features())
		queues := fuzzQueues(t, mem, dev, mode&1 != 0)
		for i, q := range queues {
			done := goDo(func() { dev.Kick(i) })
			select {
			case <-done:
			case <-time.After(fuzzTime):
				q.Quiesce(func() { ends(t, "Kick", done) })
			}
		}
		done := goDo(func() {
			for i := range queues {
				dev.StopQueue(i)
			}
			dev.Reset()
		})
		ends(t, "StopQueue or Reset", done)
		mem.Close() // not before: what did not end would touch it
	})
}

// fuzzQueues starts the device's queues on what lies in memory.
func fuzzQueues(t *testing.T, mem *guestmem.Memory, dev virtio.Device, eventIdx bool) (queues []*queue.Queue) {
	for i := range dev.QueueSizes() {
		n, base := uint64(fuzzEntries), uint64(i)*fuzzRing
		cfg := queue.Config{
			Size: fuzzEntries, Desc: base, Avail: base + 16*n, Used: base + 18*n + 8,
			EventIdx: eventIdx, Indirect: true,
		}
		q, err := queue.New(mem, cfg, mute{})
		if err != nil {
			t.Fatal(err)
		}
		queues = append(queues, q)
		started := goDo(func() { dev.StartQueue(i, q) }) // some look into the ring
		select {
		case <-started:
		case <-time.After(fuzzTime):
			q.Quiesce(func() { ends(t, "StartQueue", started) })
		}
	}
	return queues
}

// fuzzImage is guest memory with the same requests on every queue that fits.
func fuzzImage(f *testing.F, requests [][]byte) []byte {
	mem, err := guestmem.Map([]guestmem.Region{{Size: fuzzMemory}})
	if err != nil {
		f.Fatal(err)
	}
	defer mem.Close()
	all, _ := mem.Slice(0, fuzzMemory)
	for base := 0; base < fuzzData; base += fuzzRing {
		at := fuzzData
		avail := all[base+16*fuzzEntries:]
		for i, request := range requests {
			const room = 512
			head := 2 * i % fuzzEntries
			copy(all[at:], request)
			PutDesc(all[base+16*head:], uint64(at), uint32(len(request)), DescNext, uint16(head+1))
			PutDesc(all[base+16*head+16:], uint64(at+len(request)), room, DescWrite, 0)
			le.PutUint16(avail[4+2*i:], uint16(head))
			at += len(request) + room
		}
		le.PutUint16(avail[2:], uint16(len(requests)))
	}
	return bytes.TrimRight(bytes.Clone(all), "\x00")
}

func goDo(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

func ends(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(WaitTimeout):
		t.Fatal(what, "does not end")
	}
}

// mute is an Interrupter that nobody hears.
type mute struct{}

func (mute) Interrupt()   {}
func (mute) Broken(error) {}
