package net_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/virtiotest"
)

// TestMergeable: a frame takes as many buffers as it needs, fills all but the last,
// and one interrupt tells of all frames of a call.
func TestMergeable(t *testing.T) {
	d, dev, w := start(t, all)
	want := [][]byte{pattern(14, 1), pattern(88, 2), pattern(89, 3), pattern(1000, 4), pattern(60, 5)}
	var sizes []int
	for range 20 {
		sizes = append(sizes, 100)
	}
	bufs := post(d, sizes...)
	var frames []netframe.Frame
	for _, data := range want {
		frames = append(frames, frame(data, netframe.Offload{}))
	}
	if n := w.receive(frames); n != len(frames) {
		t.Fatalf("%d frames taken", n)
	}
	q := d.Queue(receiveq)
	if !q.Interrupted() || q.Interrupted() {
		t.Error("not one interrupt")
	}
	var g got
	for i, data := range want {
		if g, bufs = collect(t, d, bufs); !bytes.Equal(g.data, data) {
			t.Errorf("frame %d: got %d bytes: %x", i, len(g.data), g.data)
		}
		if !bytes.Equal(g.header, hdr{flags: 2}.bytes()) {
			t.Errorf("frame %d: header %x", i, g.header)
		}
	}
	if len(bufs) != 20-1-1-2-11-1 {
		t.Errorf("%d buffers are left", len(bufs))
	}
	if n := dev.Counters().Received; n != uint64(len(want)) {
		t.Errorf("%d received", n)
	}
}

// TestLargest: the largest frame fits into a ring of pages.
func TestLargest(t *testing.T) {
	d, _, w := start(t, all)
	var sizes []int
	for range 17 {
		sizes = append(sizes, 4096)
	}
	bufs := post(d, sizes...)
	data := pattern(netframe.MaxSize, 0)
	if n := w.receive([]netframe.Frame{frame(data, netframe.Offload{})}); n != 1 {
		t.Fatalf("%d frames taken", n)
	}
	if g, _ := collect(t, d, bufs); !bytes.Equal(g.data, data) {
		t.Error("got something else")
	}
}

// TestHeldBuffers: buffers that were taken for a frame and are too few serve smaller
// ones, in their order.
func TestHeldBuffers(t *testing.T) {
	d, _, w := start(t, all)
	bufs := post(d, 100, 200, 300, 400, 500)
	if n := w.receive([]netframe.Frame{frame(pattern(2000, 0), netframe.Offload{})}); n != 0 {
		t.Fatalf("%d frames taken", n)
	}
	for _, size := range []int{150, 250, 600} {
		data := pattern(size, size)
		if n := w.receive([]netframe.Frame{frame(data, netframe.Offload{})}); n != 1 {
			t.Fatalf("%d bytes: %d frames taken", size, n)
		}
		var g got
		if g, bufs = collect(t, d, bufs); !bytes.Equal(g.data, data) {
			t.Errorf("%d bytes: got %d others", size, len(g.data))
		}
	}
	if n := w.receive([]netframe.Frame{frame(pattern(60, 0), netframe.Offload{})}); n != 0 {
		t.Errorf("%d frames taken by no buffer", n)
	}
}

// TestRoom: a call that takes less than all is followed by Room on the next kick, and
// no other one is.
func TestRoom(t *testing.T) {
	for _, noEvent := range []bool{false, true} {
		dev, w := newDevice()
		d := virtiotest.Start(t, dev, virtiotest.Options{Features: all, NoEvent: noEvent})
		q := d.Queue(receiveq)
		data := pattern(150, 1)
		frames := []netframe.Frame{frame(data, netframe.Offload{}), frame(data, netframe.Offload{})}
		expect := func(what string, rooms int) {
			t.Helper()
			if w.rooms != rooms {
				t.Fatalf("%s: %d times room, want %d", what, w.rooms, rooms)
			}
		}
		bufs := post(d, 100, 100)
		q.Kick()
		expect("nothing to receive", 0)
		if n := w.receive(frames[:1]); n != 1 {
			t.Fatalf("%d frames taken", n)
		}
		q.Kick()
		expect("all were taken", 0)
		bufs = append(bufs, post(d, 100, 100, 100)...)
		if n := w.receive(frames); n != 1 {
			t.Fatalf("%d frames taken by three buffers", n)
		}
		expect("no kick", 0)
		if !wantsKick(q, noEvent) {
			t.Error("no kick is asked for")
		}
		q.Kick()
		expect("a kick", 1)
		q.Kick()
		expect("a second kick", 1)
		if n := w.receive(frames[1:]); n != 0 {
			t.Fatalf("%d frames taken by one buffer", n)
		}
		bufs = append(bufs, post(d, 100)...)
		q.Kick()
		expect("the missing buffer", 2)
		if n := w.receive(frames[1:]); n != 1 {
			t.Fatalf("%d frames taken", n)
		}
		for range 3 {
			var g got
			if g, bufs = collect(t, d, bufs); !bytes.Equal(g.data, data) {
				t.Errorf("got %x", g.data)
			}
		}
	}
}

// wantsKick reports whether a driver that makes one more buffer available has to say
// so (virtio 1.2, 2.7.10).
func wantsKick(q *virtiotest.Ring, noEvent bool) bool {
	le := binary.LittleEndian
	if noEvent {
		return le.Uint16(q.Bytes(q.UsedAddr, 2)) == 0
	}
	event := q.Bytes(q.UsedAddr+4+8*uint64(q.Size), 2)
	return le.Uint16(event) == le.Uint16(q.Bytes(q.AvailAddr+2, 2))
}

// TestRoomAfterAStop: what was refused for want of a driver is asked for again when
// there is one.
func TestRoomAfterAStop(t *testing.T) {
	dev, w := newDevice()
	f := []netframe.Frame{frame(pattern(60, 0), netframe.Offload{})}
	if n := w.receive(f); n != 0 {
		t.Fatalf("%d frames taken without a driver", n)
	}
	d := virtiotest.Start(t, dev, virtiotest.Options{Features: all})
	for i := range 3 {
		d.Queue(receiveq).Kick() // as transports do behind every start
		if w.rooms != i+1 {
			t.Fatalf("start %d: %d times room", i, w.rooms)
		}
		bufs := post(d, 100)
		if n := w.receive(f); n != 1 {
			t.Fatalf("start %d: %d frames taken", i, n)
		}
		collect(t, d, bufs)
		d.Stop()
		if n := w.receive(f); n != 0 {
			t.Fatalf("%d frames taken after the stop", n)
		}
		d.Restart()
	}
}

// TestTooSmall: without mergeable buffers a frame has one; one that is too small
// costs the frame and not the buffer. With them, all that a ring can hold count.
func TestTooSmall(t *testing.T) {
	d, dev, w := start(t, all&^mergeable)
	bufs := post(d, 100, 1012)
	small, large := frame(pattern(88, 1), netframe.Offload{}), frame(pattern(89, 2), netframe.Offload{})
	if n := w.receive([]netframe.Frame{large, small, large}); n != 3 {
		t.Fatalf("%d frames taken", n)
	}
	for _, want := range []netframe.Frame{small, large} {
		var g got
		if g, bufs = collect(t, d, bufs); !bytes.Equal(g.data, want.Append(nil)) {
			t.Errorf("got %x", g.data)
		}
	}
	if c := dev.Counters(); c.RxDropped != 1 || c.Received != 2 {
		t.Errorf("%+v", c)
	}

	dev, w = newDevice()
	d = virtiotest.Start(t, dev, virtiotest.Options{Features: all, QueueSize: 4})
	bufs = post(d, 30, 30, 30, 30)
	if n := w.receive([]netframe.Frame{frame(pattern(109, 1), netframe.Offload{}), small}); n != 2 {
		t.Fatalf("%d frames taken", n)
	}
	if g, _ := collect(t, d, bufs); !bytes.Equal(g.data, small.Append(nil)) {
		t.Errorf("got %x", g.data)
	}
	if c := dev.Counters(); c.RxDropped != 1 || c.Received != 1 {
		t.Errorf("%+v", c)
	}
}

// TestSenseless: a backend's frame that is none is dropped, the others are not.
func TestSenseless(t *testing.T) {
	for name, c := range map[string]struct {
		features uint64
		frame    netframe.Frame
	}{
		"empty":             {all, netframe.Frame{}},
		"short":             {all, frame(pattern(13, 0), netframe.Offload{})},
		"long":              {all, frame(pattern(netframe.MaxSize+1, 0), netframe.Offload{})},
		"checksum beyond":   {mergeable, frame(pattern(60, 0), netframe.Offload{NeedsChecksum: true, ChecksumStart: 59})},
		"no segment":        {mergeable, frame(pattern(60, 0), netframe.Offload{NeedsChecksum: true, Segment: netframe.TCP4})},
		"unknown segment":   {all, frame(pattern(60, 0), netframe.Offload{NeedsChecksum: true, Segment: 9})},
		"segment filled in": {all, frame(pattern(60, 0), netframe.Offload{Segment: netframe.TCP4, SegmentSize: 10, HeaderLen: 54})},
	} {
		d, dev, w := start(t, c.features)
		bufs := post(d, 1000)
		good := frame(pattern(100, 0), netframe.Offload{})
		if n := w.receive([]netframe.Frame{c.frame, good}); n != 2 {
			t.Fatalf("%s: %d frames taken", name, n)
		}
		if g, _ := collect(t, d, bufs); !bytes.Equal(g.data, good.Append(nil)) || dev.Counters().RxDropped != 1 {
			t.Errorf("%s: got %x, %+v", name, g.data, dev.Counters())
		}
	}
}
