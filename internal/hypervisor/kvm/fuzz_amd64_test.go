package kvm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/fsserver"
	"github.com/holtvm/holt/internal/kvmapi"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/console"
	"github.com/holtvm/holt/internal/virtio/eventfd"
	"github.com/holtvm/holt/internal/virtio/fs"
	"github.com/holtvm/holt/internal/virtio/rng"
	"github.com/holtvm/holt/internal/virtio/vsock"
)

// accesses is how many accesses a guest makes in a test of them.
const accesses = 1000

// hang ends the whole test binary, with everybody's stack, unless it is stopped
// in time: nothing else ends a monitor that hangs.
func hang(t testing.TB, after time.Duration) {
	timer := time.AfterFunc(after, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("%s hangs", t.Name()))
	})
	t.Cleanup(func() { timer.Stop() })
}

// everyDevice makes one of each, on a host that has nothing to lose.
func everyDevice(t testing.TB) []virtio.Device {
	t.Helper()
	server, err := fsserver.New(t.TempDir(), fsserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	shared, err := fs.New("root", 2, server)
	if err != nil {
		t.Fatal(err)
	}
	screen := console.New(io.Discard, 80, 25)
	t.Cleanup(func() { screen.Close() })
	return []virtio.Device{vsock.New(3, slog.New(slog.DiscardHandler)), &rng.Device{}, shared, screen}
}

// Registers of virtio-mmio (virtio 1.2, 4.2.2) that an honest driver writes.
const (
	regDriverFeatures    = 0x020
	regDriverFeaturesSel = 0x024
	regQueueSel          = 0x030
	regQueueNum          = 0x038
	regQueueReady        = 0x044
	regStatus            = 0x070
	regQueueDesc         = 0x080
	regQueueDriver       = 0x090
	regQueueDevice       = 0x0A0
)

// deviceStates are how far a driver can have come with a device, in the order in
// which it comes there.
var deviceStates = []string{"no driver", "features accepted", "driver ok", "paused", "needs reset", "failed"}

// bring brings a device to a state, by way of the bus.
func (m *machine) bring(d *device, state string) {
	put := func(off uint64, v uint32) {
		m.memory.write(d.base+off, binary.LittleEndian.AppendUint32(nil, v))
	}
	if state == "no driver" {
		return
	}
	put(regStatus, 3)
	put(regDriverFeaturesSel, 1)
	put(regDriverFeatures, 1) // VERSION_1
	put(regStatus, 0xB)
	if state == "features accepted" {
		return
	}
	rings := uint32(0x20_0000)
	if state == "needs reset" {
		rings = lowMemoryEnd // no memory there
	}
	for i := range d.transport.Queues() {
		at := rings + uint32(i)*0x1000
		put(regQueueSel, uint32(i))
		put(regQueueNum, 16)
		put(regQueueDesc, at)
		put(regQueueDriver, at+0x400)
		put(regQueueDevice, at+0x800)
		put(regQueueReady, 1)
	}
	put(regStatus, 0xF)
	switch state {
	case "paused":
		d.transport.Pause()
	case "failed":
		put(regStatus, 0x8F)
	}
}

// access is one of a vCPU's.
type access struct {
	port, write, register bool
	device                uint8 // for registers
	width                 uint8
	addr, data            uint64
}

// accessSize is the bytes of input that one access has.
const accessSize = 19

// decodeAccess makes an access of any accessSize bytes. Most of them hit
// something.
func decodeAccess(b []byte) access {
	a := access{
		port: b[0]&3 == 0, write: b[0]&4 != 0, register: b[0]&8 != 0, device: b[0] >> 4,
		width: 1 << (b[1] & 3), addr: binary.LittleEndian.Uint64(b[3:]), data: binary.LittleEndian.Uint64(b[11:]),
	}
	if b[1]&0x30 == 0 {
		a.width = b[1]>>6 + 1 // 3 is possible, too
	}
	if a.register {
		a.width = 4
	}
	if b[2]&7 != 0 {
		a.data &= 0xFF // small numbers mean more
	}
	return a
}

// take carries out an access. Accesses of a guest have at most 8 bytes, those to
// ports 4.
func (m *machine) take(a access) {
	data := binary.LittleEndian.AppendUint64(nil, a.data)[:a.width]
	addr := a.addr
	if a.port {
		if base := []uint64{serialPort, powerPort, keyboardCommand, 0}[a.device%4]; base != 0 {
			addr = base + a.addr%9
		}
		data = data[:min(len(data), 4)]
		repeated := bytes.Repeat(data, 1+int(a.addr>>60)) // a string instruction's
		m.portIO(kvmapi.IO{Out: a.write, Size: uint8(len(data)), Port: uint16(addr), Data: repeated})
		return
	}
	if i := int(a.device) % (len(m.devices) + 1); i < len(m.devices) {
		d := m.devices[i]
		addr = d.base + a.addr%(virtioStride+8)
		if a.register {
			addr = d.base + a.addr%mmioConfig&^3
		}
	}
	if a.write {
		m.memory.write(addr, data)
	} else {
		m.memory.read(addr, data)
	}
}

// mmioConfig is where a device's own configuration begins in its registers.
const mmioConfig = 0x100

// quietMachine builds a machine with every device, whose vCPUs never run.
func quietMachine(t testing.TB) *machine {
	t.Helper()
	s := spec(t, codeHalt)
	s.Devices = everyDevice(t)
	s.Logger = slog.New(slog.DiscardHandler)
	m, err := build(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	return m
}

// stillThere fails the test if the machine's devices do not answer any more.
func (m *machine) stillThere(t testing.TB) {
	t.Helper()
	for i, d := range m.devices {
		p := make([]byte, 4)
		m.memory.read(d.base, p)
		if string(p) != "virt" {
			t.Errorf("device %d reads %q", i, p)
		}
	}
}

// TestRandomAccesses makes random accesses to every register of every device in
// each state that it can be in, also while other vCPUs do.
func TestRandomAccesses(t *testing.T) {
	for i, state := range deviceStates {
		t.Run(state, func(t *testing.T) {
			hang(t, time.Minute)
			m := quietMachine(t)
			for _, d := range m.devices {
				m.bring(d, state)
			}
			done := make(chan struct{})
			for vcpu := range 2 {
				go func() {
					defer func() { done <- struct{}{} }()
					random := rand.New(rand.NewPCG(uint64(i), uint64(vcpu)))
					in := make([]byte, accessSize)
					for n := range accesses * len(m.devices) {
						for i := range in {
							in[i] = byte(random.Uint32())
						}
						a := decodeAccess(in)
						a.port, a.device = false, uint8(n%len(m.devices))
						m.take(a)
					}
				}()
			}
			<-done
			<-done
			m.stillThere(t)
			for _, d := range m.devices {
				// A driver may always begin anew.
				m.bring(d, "driver ok")
				d.transport.Resume()
				m.memory.write(d.base+regStatus, make([]byte, 4))
				p := make([]byte, 4)
				if m.memory.read(d.base+regStatus, p); binary.LittleEndian.Uint32(p) != 0 {
					t.Errorf("a reset leaves status %x", p)
				}
			}
		})
	}
}

// FuzzExits lets a guest access any port and address of a machine, in any state
// of its devices: nothing panics, hangs, or leaves memory.
func FuzzExits(f *testing.F) {
	for i := range deviceStates {
		f.Add(byte(i), uint64(i), []byte{})
	}
	f.Add(byte(2), uint64(0), append(make([]byte, 3), "any text will do, if it is long enough"...))
	f.Fuzz(func(t *testing.T, state byte, seed uint64, in []byte) {
		hang(t, 20*time.Second)
		m := quietMachine(t)
		memory, err := m.mem.Slice(0x20_0000, 0x1_0000) // where bring puts the rings
		if err != nil {
			t.Fatal(err)
		}
		copy(memory, in)
		for _, d := range m.devices {
			m.bring(d, deviceStates[int(state)%len(deviceStates)])
		}
		var key [32]byte
		binary.LittleEndian.PutUint64(key[:], seed)
		random := rand.NewChaCha8(key)
		buf := make([]byte, accessSize)
		for n := range accesses {
			// What the input does not say, chance does.
			_, _ = random.Read(buf)
			in = in[copy(buf, in):]
			m.take(decodeAccess(buf))
			if n%100 == 99 {
				d := m.devices[int(buf[0])%len(m.devices)]
				switch buf[1] % 3 {
				case 0:
					d.transport.Pause()
				case 1:
					d.transport.Resume()
				case 2:
					queue := int(buf[2]) % d.transport.Queues()
					eventfd.Signal(d.transport.KickFD(queue)) // as KVM does
				}
			}
		}
		m.stillThere(t)
	})
}
