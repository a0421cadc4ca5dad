package mmio

import (
	"encoding/json"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/fsserver"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/console"
	"github.com/holtvm/holt/internal/virtio/eventfd"
	"github.com/holtvm/holt/internal/virtio/fs"
	"github.com/holtvm/holt/internal/virtio/rng"
	"github.com/holtvm/holt/internal/virtio/vsock"
	"github.com/holtvm/holt/internal/virtiotest"
)

const (
	fuzzMemory = 64 << 10
	fuzzSteps  = 300
	fuzzTime   = 10 * time.Second // for one input, which takes milliseconds
)

// fuzzDevices make a device of each kind, on nothing that can be written.
var fuzzDevices = []func(t *testing.T, dir string) virtio.Device{
	func(*testing.T, string) virtio.Device { return &mirror{} },
	func(*testing.T, string) virtio.Device { return &rng.Device{} },
	func(t *testing.T, _ string) virtio.Device {
		c := console.New(io.Discard, 80, 25)
		typed := make(chan struct{})
		go func() {
			defer close(typed)
			_, _ = c.Write([]byte("what the host types"))
		}()
		t.Cleanup(func() {
			c.Close()
			<-typed
		})
		return c
	},
	func(t *testing.T, dir string) virtio.Device {
		server, err := fsserver.New(dir, fsserver.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		dev, err := fs.New("root", 1, server)
		if err != nil {
			t.Fatal(err)
		}
		return dev
	},
	func(*testing.T, string) virtio.Device { return vsock.New(3, slog.New(slog.DiscardHandler)) },
}

// The steps of FuzzRegisters. Each has 8 bytes of input: what, a width, an offset
// of 2 and a value of 4.
const (
	stepRead = iota
	stepWrite
	stepReadRegister  // 4 bytes, aligned, before the configuration space
	stepWriteRegister //
	stepStart         // an honest driver's start, on rings from the value on
	stepKick
	stepPause
	stepResume
	stepWait   // for an interrupt, a little
	stepReload // into another transport with a device of the same kind
	steps
)

// step encodes one.
func step(what, width byte, off uint16, v uint32) []byte {
	return le.AppendUint32(le.AppendUint16([]byte{what, width}, off), v)
}

// FuzzRegisters lets a driver do anything with the registers of any device, in
// guest memory full of anything. Whatever it does, nothing panics, and nothing
// takes for ever.
func FuzzRegisters(f *testing.F) {
	dir := f.TempDir()
	ring := make([]byte, 0x3000) // two rings of 16 entries: a readable, then a writable buffer
	for at := uint64(0); at < 0x2000; at += fuzzRing {
		virtiotest.PutDesc(ring[at:], 0x2000, 64, virtiotest.DescNext, 1)
		virtiotest.PutDesc(ring[at+16:], 0x2800, 512, virtiotest.DescWrite, 0)
		le.PutUint16(ring[at+16*16+2:], 3) // avail.idx; three times the chain at 0
	}
	le.PutUint32(ring[0x2000:], 64) // a FUSE request's length,
	le.PutUint32(ring[0x2004:], 26) // and INIT
	spelled := append([]byte{}, step(stepWriteRegister, 0, regStatus, 0)...)
	for _, w := range []access{
		read(regMagicValue, 0), read(regVersion, 0), read(regDeviceID, 0), write(regStatus, 1), write(regStatus, 3),
		write(regDeviceFeaturesSel, 1), read(regDeviceFeatures, 0), write(regDriverFeaturesSel, 1), write(regDriverFeatures, 1),
		write(regStatus, 0xb), read(regStatus, 0), write(regQueueSel, 0), read(regQueueReady, 0), read(regQueueNumMax, 0),
		write(regQueueNum, 16), write(regQueueDescLow, 0), write(regQueueDriverLow, 0x100), write(regQueueDeviceLow, 0x200),
		write(regQueueReady, 1), write(regStatus, 0xf), write(QueueNotify, 0), read(regInterruptStatus, 0),
		write(regInterruptACK, 1), write(regQueueReady, 0), read(regConfigGeneration, 0), write(regStatus, 0),
	} {
		what := byte(stepReadRegister)
		if w.write {
			what = stepWriteRegister
		}
		spelled = append(spelled, step(what, 0, uint16(w.off), w.value)...)
		if w == write(QueueNotify, 0) {
			spelled = append(spelled, step(stepWait, 0, 0, 0)...)
		}
	}
	short := step(stepStart, 0, 0, 0)
	for _, s := range [][]byte{
		step(stepKick, 0, 0, 1), step(stepWait, 0, 0, 0), step(stepPause, 0, 0, 0), step(stepKick, 0, 0, 0), step(stepReload, 0, 0, 0),
		step(stepResume, 0, 0, 0), step(stepWait, 0, 0, 0), step(stepRead, 8, regConfig, 0), step(stepWrite, 2, regConfig+1, 0x4142),
		step(stepWriteRegister, 0, regStatus, 0x8f), step(stepWriteRegister, 0, regStatus, 0), step(stepStart, 0, 0, 0),
	} {
		short = append(short, s...)
	}
	for kind := range fuzzDevices {
		f.Add(byte(kind), spelled, ring)
		f.Add(byte(kind), short, ring)
	}
	f.Add(byte(0), short, []byte{})
	f.Fuzz(func(t *testing.T, kind byte, in, image []byte) {
		watchdog := time.AfterFunc(fuzzTime, func() {
			debug.SetTraceback("all")
			panic("hangs")
		})
		defer watchdog.Stop()
		mem, err := guestmem.Map([]guestmem.Region{{Size: fuzzMemory}})
		if err != nil {
			t.Fatal(err)
		}
		all, _ := mem.Slice(0, fuzzMemory)
		copy(all, image)
		fresh := func() *driver {
			dev := fuzzDevices[int(kind)%len(fuzzDevices)](t, dir)
			tr, err := New(dev, mem, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return &driver{Transport: tr, t: t, mem: mem}
		}
		d := fresh()
		for n := 0; len(in) >= 8 && n < fuzzSteps; n++ {
			if in[0]%steps == stepReload {
				if next := fresh(); reload(t, d, next) {
					d.Close()
					d = next
				} else {
					next.Close()
				}
			} else {
				d.take(in)
			}
			in = in[8:]
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		mem.Close()
	})
}

// fuzzRing is how much memory stepStart has for one queue, in bytes.
const fuzzRing = 0x400

// take does the step that in begins with.
func (d *driver) take(in []byte) {
	width, off, v := int(in[1]%8)+1, uint64(le.Uint16(in[2:])), le.Uint32(in[4:])
	value := slices.Concat(in[4:8], in[:4])
	switch in[0] % steps {
	case stepRead:
		d.Read(off%(WindowSize+8), make([]byte, width))
	case stepWrite:
		d.Write(off%(WindowSize+8), value[:width])
	case stepReadRegister:
		d.get(off % regConfig &^ 3)
	case stepWriteRegister:
		d.put(off%regConfig&^3, v)
	case stepStart:
		d.put(regStatus, 3)
		d.accept(d.Features())
		d.put(regStatus, 0xb)
		for i := range d.Queues() {
			base := uint64(v) + uint64(i)*fuzzRing
			d.SetupQueue(i, 16, base, base+0x100, base+0x200)
		}
		d.put(regStatus, 0xf)
	case stepKick:
		eventfd.Signal(d.KickFD(int(v % uint32(d.Queues()))))
	case stepWait:
		signalled(d.InterruptFD(), time.Millisecond)
	case stepPause:
		d.Pause()
	case stepResume:
		d.Resume()
	}
}

// reload moves a paused transport's state into another by way of a file's text,
// and reports whether it could.
func reload(t *testing.T, from, to *driver) bool {
	state, err := from.Save()
	if err != nil {
		return false
	}
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	var again State
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if err := to.Load(again); err != nil {
		t.Errorf("load what was saved: %v\n%s", err, text)
		return false
	}
	return true
}

// FuzzLoad takes a state from anywhere, and runs what it describes.
func FuzzLoad(f *testing.F) {
	for _, s := range []State{
		{Type: 42, Queues: make([]QueueState, 2), Device: []byte{1}},
		{Type: 42, Status: 0xf, DriverFeatures: 1 << 32, Device: []byte{1}, Queues: []QueueState{
			{Size: 16, Ready: true, Driver: 0x100, Device: 0x200, NextAvail: 3},
			{Size: 8, Ready: true, Desc: 0x1000, Driver: 0x1100, Device: 0x1200},
		}},
	} {
		text, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s State
		if json.Unmarshal(text, &s) != nil {
			return
		}
		d := attach(t, &mirror{})
		if d.Load(s) != nil {
			return
		}
		d.Resume()
		d.Kick(0)
		d.Kick(1)
		d.Pause()
		if _, err := d.Save(); err != nil {
			t.Error(err)
		}
	})
}
