package net_test

import (
	"log/slog"
	"testing"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/net"
	"github.com/holtvm/holt/internal/virtiotest"
)

// mirror sends back what the guest sends, and again when there is room.
type mirror struct {
	receive func([]netframe.Frame) int
}

func (m *mirror) Attach(receive func([]netframe.Frame) int) { m.receive = receive }
func (m *mirror) Room()                                     { m.receive([]netframe.Frame{{Parts: [][]byte{make([]byte, 60)}}}) }

// Transmit makes sure that what was checked of the frame holds.
func (m *mirror) Transmit(f netframe.Frame) {
	b := f.Append(nil)
	if f.NeedsChecksum {
		_ = b[int(f.ChecksumStart)+int(f.ChecksumOffset)+1]
	}
	_ = b[:max(netframe.HeaderSize, int(f.HeaderLen))]
	m.receive([]netframe.Frame{f, {Parts: [][]byte{b}}})
}

// FuzzDevice has every frame echoed to a driver that takes no offloads, or all.
func FuzzDevice(f *testing.F) {
	segment := large(netframe.TCP4, 500, 100)
	virtiotest.FuzzDevice(f, func(*testing.T) virtio.Device {
		return net.New(mac, mtu, &mirror{}, slog.New(slog.DiscardHandler))
	},
		[][]byte{append(make([]byte, 12), pattern(60, 0)...), append(hdr{flags: 1, start: 34, offset: 6}.bytes(), make([]byte, 80)...)},
		[][]byte{append(append(hdr{1, 1, 54, 100, 34, 16}.bytes(), 0, 0), segment.Append(nil)...)},
	)
}

func FuzzLoadState(f *testing.F) {
	virtiotest.FuzzState(f, func(testing.TB) virtio.Device {
		dev, _ := newDevice()
		return dev
	})
}
