package mmio

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtiotest"
)

// access is a read that must give a value, or a write.
type access struct {
	off   uint64
	value uint32
	write bool
}

func read(off uint64, want uint32) access { return access{off, want, false} }
func write(off uint64, v uint32) access   { return access{off, v, true} }

const mirrorLow = mirrorFeature | uint32(virtio.FeatureIndirectDesc|virtio.FeatureEventIdx)

func TestRegisters(t *testing.T) {
	negotiate := []access{
		write(regStatus, 1), write(regStatus, 3),
		write(regDriverFeaturesSel, 1), write(regDriverFeatures, 1),
		write(regDriverFeaturesSel, 0), write(regDriverFeatures, mirrorLow),
	}
	agreed := append(slices.Clone(negotiate), write(regStatus, 0xb), read(regStatus, 0xb))
	for name, accesses := range map[string][]access{
		"identity": {
			read(regMagicValue, 0x74726976), read(regVersion, 2), read(regDeviceID, 42),
			read(regVendorID, 0x544c4f48), read(regStatus, 0), read(regConfigGeneration, 0),
			write(regMagicValue, 1), read(regMagicValue, 0x74726976),
		},
		"offered features": {
			read(regDeviceFeatures, mirrorLow),
			write(regDeviceFeaturesSel, 1), read(regDeviceFeatures, 1),
			write(regDeviceFeaturesSel, 2), read(regDeviceFeatures, 0),
			write(regDeviceFeaturesSel, math.MaxUint32), read(regDeviceFeatures, 0),
			read(regDeviceFeaturesSel, 0), read(regDriverFeatures, 0), // written only
		},
		"queues before any": {
			read(regQueueNumMax, 16), read(regQueueReady, 0),
			write(regQueueSel, 1), read(regQueueNumMax, 64),
			write(regQueueSel, 2), read(regQueueNumMax, 0), read(regQueueReady, 0),
			write(regQueueNum, 16), write(regQueueReady, 1), read(regQueueReady, 0),
			write(regQueueSel, math.MaxUint32), read(regQueueNumMax, 0), write(regQueueReady, 1),
			write(QueueNotify, 2), write(QueueNotify, math.MaxUint32),
		},
		"shared memory": {
			write(0x0ac, 0), read(regSHMLenLow, 0xffffffff), read(regSHMLenHigh, 0xffffffff),
			write(0x0ac, 77), read(regSHMLenLow, 0xffffffff), read(regSHMLenHigh, 0xffffffff),
		},
		"initialisation": append(slices.Clone(agreed),
			write(regStatus, 0xf), read(regStatus, 0xf), write(regStatus, 0), read(regStatus, 0)),
		"all at once": append(slices.Clone(negotiate), write(regStatus, 0xf), read(regStatus, 0xf)),
		"bits stay": append(slices.Clone(agreed),
			write(regStatus, 1), read(regStatus, 0xb), write(regStatus, 4), read(regStatus, 0xf)),
		"bits that are not the driver's": {
			write(regStatus, 64), read(regStatus, 0), write(regStatus, 0xffffff31), read(regStatus, 1),
		},
		"driver before acknowledge":    {write(regStatus, 2), read(regStatus, 0), write(regStatus, 0xe), read(regStatus, 0)},
		"driver ok before features ok": {write(regStatus, 3), write(regStatus, 7), read(regStatus, 3)},
		"no features": {
			write(regStatus, 3), write(regStatus, 0xb), read(regStatus, 3),
			write(regStatus, 0xf), read(regStatus, 3),
		},
		"no VERSION_1": {
			write(regStatus, 3), write(regDriverFeatures, mirrorLow), write(regStatus, 0xb), read(regStatus, 3),
			// It may think again.
			write(regDriverFeaturesSel, 1), write(regDriverFeatures, 1), write(regStatus, 0xb), read(regStatus, 0xb),
		},
		"a feature that is not offered": append(slices.Clone(negotiate),
			write(regDriverFeatures, mirrorLow|1), write(regStatus, 0xb), read(regStatus, 3),
			write(regDriverFeatures, 0), write(regStatus, 0xb), read(regStatus, 0xb)),
		"a high feature that is not offered": append(slices.Clone(negotiate),
			write(regDriverFeaturesSel, 1), write(regDriverFeatures, 3), write(regStatus, 0xb), read(regStatus, 3)),
		"a feature above all": append(slices.Clone(negotiate),
			write(regDriverFeaturesSel, 2), write(regDriverFeatures, 1), write(regStatus, 0xb), read(regStatus, 3),
			write(regStatus, 0), write(regDriverFeaturesSel, 1), write(regDriverFeatures, 1), write(regStatus, 0xb), read(regStatus, 0xb)),
		"features after they are agreed on": append(slices.Clone(agreed),
			write(regDriverFeatures, 0xffffffff), write(regStatus, 0xf), read(regStatus, 0xf)),
		"failed": append(slices.Clone(agreed),
			write(regStatus, 0x8b), read(regStatus, 0x8b), write(regStatus, 0xf), read(regStatus, 0x8b),
			write(regStatus, 0), read(regStatus, 0), write(regStatus, 1), read(regStatus, 1)),
		"ready reads back": append(slices.Clone(agreed),
			write(regQueueReady, 1), read(regQueueReady, 1), write(regQueueReady, 2), read(regQueueReady, 1),
			write(regQueueReady, 0), read(regQueueReady, 0), write(regQueueReady, 1), write(regStatus, 0), read(regQueueReady, 0)),
		"a reset takes the selectors back": {
			write(regQueueSel, 1), write(regDeviceFeaturesSel, 1), write(regStatus, 0),
			read(regQueueNumMax, 16), read(regDeviceFeatures, mirrorLow),
		},
		"acknowledge nothing": {write(regInterruptACK, math.MaxUint32), read(regInterruptStatus, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			d := attach(t, &mirror{})
			for i, a := range accesses {
				if a.write {
					d.put(a.off, a.value)
				} else if got := d.get(a.off); got != a.value {
					t.Errorf("access %d: register %#x reads %#x, want %#x", i, a.off, got, a.value)
				}
			}
		})
	}
}

// Every width at every place of the window and behind it: registers answer to
// aligned words alone, the configuration space to all.
func TestWidths(t *testing.T) {
	d := attach(t, &mirror{config: [8]byte([]byte("01234567"))})
	d.put(regStatus, 1)
	for n := 1; n <= 8; n++ {
		for off := range uint64(WindowSize + 16) {
			p := bytes.Repeat([]byte{0xaa}, n)
			d.Read(off, p)
			want := make([]byte, n)
			switch {
			case off >= regConfig && off < regConfig+8:
				copy(want, "01234567"[off-regConfig:])
			case off < regConfig && n == 4 && off%4 == 0:
				continue // TestRegisters
			}
			if !bytes.Equal(p, want) {
				t.Fatalf("read of %d bytes at %#x = %x, want %x", n, off, p, want)
			}
			if off < regConfig && (n != 4 || off%4 != 0) || off >= WindowSize {
				d.Write(off, make([]byte, n)) // among them a reset, were it taken
			}
		}
	}
	d.Read(math.MaxUint64, make([]byte, 8))
	d.Write(math.MaxUint64, make([]byte, 8))
	if got := d.get(regStatus); got != 1 {
		t.Errorf("status %#x after writes that have no effect", got)
	}
	for _, c := range []struct {
		off  uint32
		p    string
		want string
	}{{0, "A", "A1234567"}, {2, "BC", "A1BC4567"}, {4, "DEFG", "A1BCDEFG"}, {0, "01234567", "01234567"}, {7, "XY", "0123456X"}} {
		d.WriteConfig(c.off, []byte(c.p))
		if got := d.ReadConfig(0, 8); string(got) != c.want {
			t.Errorf("configuration %q after writing %q at %d, want %q", got, c.p, c.off, c.want)
		}
	}
}

// startRing sets up queue i of a device whose driver has negotiated.
func (d *driver) startRing(i int, base uint64, size uint16) *virtiotest.Ring {
	d.t.Helper()
	r := virtiotest.NewRing(d.t, d.mem, base, size)
	d.SetupQueue(i, size, r.DescAddr, r.AvailAddr, r.UsedAddr)
	return r
}

// offer makes a request available whose answer lies behind it, at data.
func offer(r *virtiotest.Ring, data uint64, text string) {
	copy(r.Bytes(data, len(text)), text)
	clear(r.Bytes(data+64, len(text)))
	r.SetDesc(0, data, uint32(len(text)), virtiotest.DescNext, 1)
	r.SetDesc(1, data+64, uint32(len(text)), virtiotest.DescWrite, 0)
	r.Offer(0)
}

// answered waits for the answer to the last offer.
func (d *driver) answered(i int, r *virtiotest.Ring, data uint64, text string) {
	d.t.Helper()
	for deadline := time.Now().Add(virtiotest.WaitTimeout); ; {
		if _, ok := r.Used(); ok {
			break
		}
		if !d.Interrupted(i, min(time.Until(deadline), time.Millisecond)) && time.Now().After(deadline) {
			d.t.Fatalf("no answer to %q", text)
		}
	}
	if got := r.Bytes(data+64, len(text)); string(got) != text {
		d.t.Fatalf("answer %q to %q", got, text)
	}
}

const (
	ringAt = 0x10000
	dataAt = 0x1000
)

func TestQueueMadeReadyLater(t *testing.T) {
	d := attach(t, &mirror{})
	d.Accept(virtio.FeatureVersion1)
	d.Start()
	for i := range 3 {
		r := d.startRing(1, ringAt+uint64(i)<<12, 8)
		for n := range 3 {
			text := fmt.Sprint("request ", i, n)
			offer(r, dataAt, text)
			d.Kick(1)
			d.answered(1, r, dataAt, text)
		}
		d.put(regQueueReady, 0)
		offer(r, dataAt, "late")
		d.Kick(1)
		time.Sleep(2 * time.Millisecond)
		if _, ok := r.Used(); ok {
			t.Error("a queue that is not ready answers")
		}
	}
}

func TestFailedDriverStopsTheQueues(t *testing.T) {
	d := attach(t, &mirror{})
	d.Accept(virtio.FeatureVersion1)
	r := d.startRing(0, ringAt, 8)
	d.Start()
	offer(r, dataAt, "before")
	d.Kick(0) // the device may have looked before it was there
	d.answered(0, r, dataAt, "before")
	d.put(regStatus, d.get(regStatus)|statusFailed)
	offer(r, dataAt, "after")
	d.Kick(0)
	d.put(regQueueReady, 1)
	time.Sleep(2 * time.Millisecond)
	if _, ok := r.Used(); ok {
		t.Error("the device works for a driver that gave up")
	}
}

func TestBrokenQueueNeedsReset(t *testing.T) {
	for name, size := range map[string]uint16{"at its start": 3, "while it runs": 8} {
		t.Run(name, func(t *testing.T) {
			d := attach(t, &mirror{})
			d.Accept(virtio.FeatureVersion1)
			d.startRing(0, ringAt, size)
			if got := d.get(regStatus) | d.get(regInterruptStatus); got != 0xb {
				t.Errorf("status or interrupt status %#x before the start", got)
			}
			r := virtiotest.NewRing(t, d.mem, ringAt, size)
			d.Start()
			if size == 8 {
				r.SetAvailIdx(100)
				d.Kick(0)
			}
			if !signalled(d.InterruptFD(), virtiotest.WaitTimeout) {
				t.Fatal("no interrupt")
			}
			if s, i := d.get(regStatus), d.get(regInterruptStatus); s != 0x4f || i != interruptConfig {
				t.Errorf("status %#x, interrupt status %#x", s, i)
			}
			d.put(regInterruptACK, interruptConfig)
			if i := d.get(regInterruptStatus); i != 0 {
				t.Errorf("interrupt status %#x after its acknowledgement", i)
			}
			d.put(regStatus, d.get(regStatus)) // with the device's own bit
			if d.Reset(); d.get(regStatus) != 0 {
				t.Errorf("status %#x after a reset", d.get(regStatus))
			}
		})
	}
}
