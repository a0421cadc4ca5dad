package net_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/net"
	"github.com/holtvm/holt/internal/virtiotest"
)

func TestState(t *testing.T) {
	wires := map[virtio.Device]*wire{}
	newDevice := func(*testing.T) virtio.Device {
		dev, w := newDevice()
		wires[dev] = w
		return dev
	}
	virtiotest.StateSuite(t, newDevice, func(t *testing.T, d *virtiotest.Driver, again bool) {
		w := wires[d.Dev]
		d.Queue(transmitq).Do(append(make([]byte, 12), pattern(64, 0)...), 0)
		if len(w.sent) != 1 {
			t.Errorf("%d frames sent", len(w.sent))
		}
		data := pattern(300, 1)
		bufs := post(d, 100, 100, 200)
		if n := w.receive([]netframe.Frame{frame(data, netframe.Offload{})}); n != 1 {
			t.Fatalf("%d frames taken", n)
		}
		if g, _ := collect(t, d, bufs); !bytes.Equal(g.data, data) {
			t.Errorf("got %x", g.data)
		}
	})
}

func TestStateOfAnotherCard(t *testing.T) {
	dev, _ := newDevice()
	state, err := dev.SaveState()
	if err != nil {
		t.Fatal(err)
	}
	other := net.New(mac, 1500, &wire{}, slog.New(slog.DiscardHandler))
	if err := other.LoadState(state); err == nil || !strings.Contains(err.Error(), "1500") {
		t.Errorf("another MTU: %v", err)
	}
	bad := bytes.Replace(state, []byte(`"mac":"`), []byte(`"mac":"AAAA`), 1)
	if err := dev.LoadState(bad); err == nil || !strings.Contains(err.Error(), "9 bytes") {
		t.Errorf("a longer address: %v", err)
	}
}

// TestAddressOfACopy: a card goes on with its own address.
func TestAddressOfACopy(t *testing.T) {
	dev, _ := newDevice()
	state, err := dev.SaveState()
	if err != nil {
		t.Fatal(err)
	}
	own := [6]byte{2, 0, 0, 0, 0, 8}
	other := net.New(own, mtu, &wire{}, slog.New(slog.DiscardHandler))
	if err := other.LoadState(state); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 6)
	if other.ReadConfig(0, got); !bytes.Equal(got, own[:]) {
		t.Errorf("the card's address is %x", got)
	}
}

// TestHeldBuffersOutlastAPause: buffers that were too few for a frame are there for
// it, in their order, when the machine goes on, on another device, too.
func TestHeldBuffersOutlastAPause(t *testing.T) {
	d, dev, w := start(t, all)
	data := pattern(250, 1)
	f := []netframe.Frame{frame(data, netframe.Offload{})}
	bufs := post(d, 100, 100)
	if n := w.receive(f); n != 0 {
		t.Fatalf("%d frames taken by 200 bytes", n)
	}
	d.Pause()
	if n := w.receive(f); n != 0 {
		t.Fatalf("%d frames taken in a pause", n)
	}
	state, err := dev.SaveState()
	if err != nil {
		t.Fatal(err)
	}
	dev, w = newDevice()
	if err := dev.LoadState(state); err != nil {
		t.Fatal(err)
	}
	d.Resume(dev)
	bufs = append(bufs, post(d, 100)...)
	if n := w.receive(f); n != 1 {
		t.Fatalf("%d frames taken after the pause", n)
	}
	if g, _ := collect(t, d, bufs); !bytes.Equal(g.data, data) {
		t.Errorf("got %x", g.data)
	}
}
