package net_test

import (
	"encoding/binary"
	"log/slog"
	"testing"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/virtio/net"
	"github.com/holtvm/holt/internal/virtiotest"
)

// sink looks at nothing.
type sink struct{ wire }

func (*sink) Transmit(netframe.Frame) {}

const benchSize = 64<<10 - 20 // with the virtio header, it fills 16 pages

// benchDevice starts a device, and fills the available ring of one of its queues with
// the same chains again and again. offer makes the next n of them available.
func benchDevice(b *testing.B, queue int, chains func(q *virtiotest.Ring) []uint16) (dev *net.Device, w *sink, offer func(n int)) {
	w = &sink{}
	dev = net.New(mac, mtu, w, slog.New(slog.DiscardHandler))
	q := virtiotest.Start(b, dev, virtiotest.Options{Features: all}).Queue(queue)
	heads := chains(q)
	for i := range q.Size {
		q.Offer(heads[int(i)%len(heads)])
	}
	q.SetAvailIdx(0)
	idx, next := q.Bytes(q.AvailAddr+2, 2), uint16(0)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	return dev, w, func(n int) {
		next += uint16(n)
		binary.LittleEndian.PutUint16(idx, next)
	}
}

// BenchmarkReceive has the guest take frames of 64 KiB in 16 buffers of a page.
func BenchmarkReceive(b *testing.B) {
	_, w, offer := benchDevice(b, receiveq, func(q *virtiotest.Ring) (heads []uint16) {
		for range 16 {
			heads = append(heads, q.Chain(q.Writable(4096)))
		}
		return heads
	})
	frames := []netframe.Frame{{Parts: [][]byte{pattern(66, 0), pattern(benchSize-66, 0)}}}
	for b.Loop() {
		if offer(16); w.receive(frames) != 1 {
			b.Fatal("not taken")
		}
	}
}

// BenchmarkTransmit has the guest send frames of 64 KiB in pages, one by one.
func BenchmarkTransmit(b *testing.B) {
	dev, _, offer := benchDevice(b, transmitq, func(q *virtiotest.Ring) []uint16 {
		bufs := []virtiotest.Buf{q.Readable(make([]byte, 12+66))}
		for n := benchSize - 66; n > 0; n -= 4096 {
			bufs = append(bufs, q.Readable(pattern(min(n, 4096), 0)))
		}
		return []uint16{q.Indirect(bufs...)}
	})
	for b.Loop() {
		offer(1)
		dev.Kick(transmitq)
	}
	if n := dev.Counters().TxDropped; n > 0 {
		b.Errorf("%d frames dropped", n)
	}
}
