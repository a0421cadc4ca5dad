package vhostuser

import (
	"bytes"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/rng"
	"github.com/holtvm/holt/internal/virtiotest"
)

func TestTransport(t *testing.T) {
	virtiotest.TransportSuite(t, func(t *testing.T, dev virtio.Device) virtiotest.Transport {
		return connect(t, dev)
	})
}

// rngFrontEnd is a front end with a running rng device.
type rngFrontEnd struct {
	*frontEnd
	dev  *recorder
	ring *virtiotest.Ring
}

func startRNG(t *testing.T) *rngFrontEnd {
	t.Helper()
	dev := &recorder{Device: &rng.Device{}}
	f := &rngFrontEnd{frontEnd: connect(t, dev), dev: dev}
	f.Accept(virtio.FeatureVersion1 | virtio.FeatureEventIdx)
	f.ring = virtiotest.NewRing(t, f.mem, 0x1000, 16)
	f.SetupQueue(0, 16, f.ring.DescAddr, f.ring.AvailAddr, f.ring.UsedAddr)
	f.Start()
	return f
}

// fills asks for random bytes and checks that they come.
func (f *rngFrontEnd) fills() {
	f.t.Helper()
	f.offer()
	f.Kick(0)
	f.answered()
}

func (f *rngFrontEnd) offer() {
	f.t.Helper()
	clear(f.ring.Bytes(0x8000, 32))
	f.ring.SetDesc(3, 0x8000, 32, virtiotest.DescWrite, 0)
	f.ring.Offer(3)
}

func (f *rngFrontEnd) answered() {
	f.t.Helper()
	for deadline := time.Now().Add(virtiotest.WaitTimeout); ; {
		if e, ok := f.ring.Used(); ok {
			if e.ID != 3 || e.Len != 32 || bytes.Equal(f.ring.Bytes(0x8000, 32), make([]byte, 32)) {
				f.t.Fatalf("used entry %+v", e)
			}
			return
		}
		if !f.Interrupted(0, time.Until(deadline)) {
			f.t.Fatal("no interrupt")
		}
	}
}

// restart sets the ring up again at a position.
func (f *rngFrontEnd) restart(base uint32) {
	f.t.Helper()
	f.SetupQueue(0, 16, f.ring.DescAddr, f.ring.AvailAddr, f.ring.UsedAddr)
	f.send(reqSetVringBase, vring(0, base))
	f.Start()
}

func TestPauseKeepsTheDevice(t *testing.T) {
	f := startRNG(t)
	before := f.dev.count()
	for range 3 {
		f.fills()
	}
	f.send(reqSetVringEnable, vring(0, 0))
	base := f.base(0)
	if base != 3 {
		t.Fatalf("stopped at %d after 3 requests", base)
	}
	f.offer()
	f.Kick(0) // into a stopped ring
	f.restart(base)
	f.answered()
	f.fills()
	if n := f.dev.count() - before; n != 0 {
		t.Errorf("a ring that went on where it stopped reset the device %d times", n)
	}
	f.send(reqSetVringEnable, vring(0, 0))
	f.send(reqSetVringEnable, vring(0, 1))
	f.fills()
	if n := f.dev.count() - before; n != 0 {
		t.Errorf("disabling and enabling reset the device %d times", n)
	}
	f.Reset()
	f.ring = virtiotest.NewRing(t, f.mem, 0x1000, 16)
	f.restart(0)
	f.fills()
	if n := f.dev.count() - before; n != 1 {
		t.Errorf("a ring that began anew reset the device %d times, want 1", n)
	}
}

// A device that was started and never used may have state all the same.
func TestRingsAtZeroBeginAnew(t *testing.T) {
	f := startRNG(t)
	before := f.dev.count()
	f.Reset()
	f.restart(0)
	f.fills()
	if n := f.dev.count() - before; n != 1 {
		t.Errorf("the device was reset %d times, want 1", n)
	}
}

func TestResetDevice(t *testing.T) {
	for _, r := range []request{reqResetDevice, reqResetOwner} {
		f := startRNG(t)
		f.fills()
		before := f.dev.count()
		f.send(r, nil)
		if n := f.dev.count() - before; n != 1 {
			t.Errorf("%v reset the device %d times", r, n)
		}
		f.offer()
		f.Kick(0)
		if f.Interrupted(0, 20*time.Millisecond); f.base(0) != 1 {
			t.Errorf("%v left the ring running", r)
		}
	}
}

func TestMemoryChangesWhileRingsRun(t *testing.T) {
	f := startRNG(t)
	f.fills()
	f.fills()
	f.SetupQueue(0, 8, 0x4000, 0x5000, 0x6000) // for the next start, not for this one
	// The same contents elsewhere, and no longer in the old place.
	fd, err := unix.MemfdCreate("moved", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	moved := os.NewFile(uintptr(fd), "moved")
	defer moved.Close()
	const shift = 1 << 20
	if err := moved.Truncate(virtiotest.MemorySize + shift); err != nil {
		t.Fatal(err)
	}
	mem, err := guestmem.Map([]guestmem.Region{{Size: virtiotest.MemorySize, File: moved, Offset: shift}})
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	to, _ := mem.Slice(0, virtiotest.MemorySize)
	copy(to, f.ring.Bytes(0, virtiotest.MemorySize))
	clear(f.ring.Bytes(0, virtiotest.MemorySize))
	f.send(reqSetMemTable, table([4]uint64{0, virtiotest.MemorySize, userBase, shift}), fd)
	f.ring.Mem = mem
	f.fills()
	if base := f.base(0); base != 3 {
		t.Errorf("stopped at %d after 3 requests", base)
	}
}

func TestRingsStartEnabledWithoutProtocolFeatures(t *testing.T) {
	dev := &recorder{Device: &rng.Device{}}
	f := &rngFrontEnd{frontEnd: connect(t, dev), dev: dev}
	f.send(reqSetFeatures, putU64(virtio.FeatureVersion1))
	f.setMemTable()
	f.ring = virtiotest.NewRing(t, f.mem, 0x1000, 16)
	f.SetupQueue(0, 16, f.ring.DescAddr, f.ring.AvailAddr, f.ring.UsedAddr)
	f.send(reqSetVringKick, putU64(0), f.queues[0].kick)
	f.fills()
}

func TestEnableBeforeKick(t *testing.T) {
	f := startRNG(t)
	f.base(0)
	f.restart(0) // still enabled: SET_VRING_KICK starts it
	f.ring = virtiotest.NewRing(t, f.mem, 0x1000, 16)
	f.fills()
}

func TestInterruptWithoutCallDescriptorIsNotLost(t *testing.T) {
	f := startRNG(t)
	f.send(reqSetVringCall, putU64(vringNoFD))
	f.offer()
	f.Kick(0)
	for f.ring.Bytes(f.ring.UsedAddr+2, 1)[0] == 0 {
		time.Sleep(time.Millisecond)
	}
	if signalled(f.queues[0].call, 20*time.Millisecond) {
		t.Fatal("an interrupt through a descriptor that was taken back")
	}
	f.send(reqSetVringCall, putU64(0), f.queues[0].call)
	if !signalled(f.queues[0].call, virtiotest.WaitTimeout) {
		t.Error("the interrupt is lost")
	}
}

func TestStoppedRingAnswers(t *testing.T) {
	f := connect(t, &rng.Device{})
	f.send(reqSetVringBase, vring(0, 77))
	for range 2 {
		if got := f.base(0); got != 77 {
			t.Errorf("GET_VRING_BASE of a ring that never ran: %d", got)
		}
	}
}

func TestConfigOffsets(t *testing.T) {
	f := connect(t, configDevice{&rng.Device{}})
	for _, off := range []int{250, math.MaxUint32 - 3, math.MaxUint32} {
		if got := f.ReadConfig(uint32(off), 256); !bytes.Equal(got, make([]byte, 256)) {
			t.Errorf("ReadConfig(%d) = %x", off, got)
		}
	}
}

// configDevice is a device with a configuration space and the type that real
// devices with one have.
type configDevice struct{ *rng.Device }

func (configDevice) Type() virtio.DeviceType { return virtio.TypeVsock }
func (configDevice) ReadConfig(off uint32, p []byte) {
	virtio.ReadConfigSpace([]byte("config"), off, p)
}

// netDevice has one that QEMU keeps itself.
type netDevice struct{ configDevice }

func (netDevice) Type() virtio.DeviceType { return virtio.TypeNet }

func TestOffersNoConfigurationThatQEMUKeepsItself(t *testing.T) {
	for _, c := range []struct {
		dev  virtio.Device
		want bool
	}{{&rng.Device{}, false}, {configDevice{&rng.Device{}}, true}, {netDevice{configDevice{&rng.Device{}}}, false}} {
		f := connect(t, c.dev)
		got := le.Uint64(f.get(reqGetProtocolFeatures))&protocolConfig != 0
		if got != c.want {
			t.Errorf("%v: offers CONFIG: %v", c.dev.Type(), got)
		}
	}
}

func TestProtocolViolations(t *testing.T) {
	memfd := func(f *rngFrontEnd, n int) (fds []int) {
		for range n {
			fds = append(fds, int(f.memfd.Fd()))
		}
		return fds
	}
	const size = virtiotest.MemorySize
	for _, c := range []struct {
		name string
		raw  []byte
		fds  int // copies of guest memory's descriptor
	}{
		{"unknown request", encode(99, 0, nil), 0},
		{"request 0", encode(0, 0, nil), 0},
		{"wrong version", le.AppendUint64(le.AppendUint32(nil, uint32(reqSetOwner)), 2), 0},
		{"a reply", encode(reqSetOwner, flagReply, nil), 0},
		{"payload too short", encode(reqSetFeatures, 0, make([]byte, 7)), 0},
		{"payload too long", encode(reqSetOwner, 0, make([]byte, 8)), 0},
		{"huge payload", append(encode(reqSetConfig, 0, nil)[:8], 0xff, 0xff, 0xff, 0xff), 0},
		{"descriptors that do not belong", encode(reqSetOwner, 0, nil), 1},
		{"more descriptors than any message has", encode(reqSetMemTable, 0, table([4]uint64{0, size, userBase, 0})), 20},
		{"table of 9 regions", encode(reqSetMemTable, 0, append(le.AppendUint64(nil, 9), make([]byte, 256)...)), 8},
		{"table of 2^32-1 regions", encode(reqSetMemTable, 0, le.AppendUint64(nil, math.MaxUint32)), 0},
		{"more regions than descriptors", encode(reqSetMemTable, 0, table([4]uint64{0, size, userBase, 0})), 0},
		{"more descriptors than regions", encode(reqSetMemTable, 0, table([4]uint64{0, size, userBase, 0})), 2},
		{"region past the end of its file", encode(reqSetMemTable, 0, table([4]uint64{0, size, userBase, 4096})), 1},
		{"region that wraps", encode(reqSetMemTable, 0, table([4]uint64{math.MaxUint64 - 4095, size, userBase, 0})), 1},
		{"offset not aligned", encode(reqSetMemTable, 0, table([4]uint64{0, 4096, userBase, 100})), 1},
		{"negative offset", encode(reqSetMemTable, 0, table([4]uint64{0, 4096, userBase, math.MaxUint64})), 1},
		{"regions that overlap", encode(reqSetMemTable, 0, table([4]uint64{0, 8192, userBase, 0}, [4]uint64{4096, 8192, userBase, 0})), 2},
		{"queue that is not there", encode(reqSetVringNum, 0, vring(1, 16)), 0},
		{"queue far away", encode(reqGetVringBase, 0, vring(-1, 16)), 0},
		{"position above 16 bits", encode(reqSetVringBase, 0, vring(0, 1<<16)), 0},
		{"kick of another queue", encode(reqSetVringKick, 0, putU64(255)), 1},
		{"kick without descriptor", encode(reqSetVringKick, 0, putU64(0)), 0},
		{"kick by polling", encode(reqSetVringKick, 0, putU64(vringNoFD)), 0},
		{"kick that cannot be polled", encode(reqSetVringKick, 0, putU64(0)), 1},
		{"call with both", encode(reqSetVringCall, 0, putU64(vringNoFD)), 1},
		{"two call descriptors", encode(reqSetVringCall, 0, putU64(0)), 2},
		{"config of another size", encode(reqGetConfig, 0, append(vring(0, 4), make([]byte, 12)...)), 0},
		{"features change while rings run", encode(reqSetFeatures, 0, putU64(0)), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := startRNG(t)
			f.fills()
			if err := f.write(c.raw, memfd(f, c.fds)...); err != nil {
				t.Fatal(err)
			}
			err := f.wait()
			if err == nil || !strings.HasPrefix(err.Error(), "vhost-user rng: ") {
				t.Errorf("Serve: %v", err)
			}
			if f.dev.count() == 0 {
				t.Error("the device was not reset")
			}
		})
	}
}

func TestRefusalIsAcknowledged(t *testing.T) {
	f := startRNG(t)
	if err := f.write(encode(reqSetVringNum, flagNeedReply, vring(5, 16))); err != nil {
		t.Fatal(err)
	}
	if got := le.Uint64(f.read(reqSetVringNum)); got == 0 {
		t.Error("a refused request was acknowledged as done")
	}
	if err := f.wait(); err == nil {
		t.Error("Serve went on")
	}
}

func TestMessageInPieces(t *testing.T) {
	f := startRNG(t)
	raw := encode(reqSetVringCall, flagNeedReply, putU64(0))
	for i := range raw {
		fds := []int{}
		if i == 0 {
			fds = append(fds, f.queues[0].call)
		}
		if err := f.write(raw[i:i+1], fds...); err != nil {
			t.Fatal(err)
		}
	}
	if got := le.Uint64(f.read(reqSetVringCall)); got != 0 {
		t.Errorf("acknowledged with %d", got)
	}
	f.fills()
	if err := f.write(raw[:10]); err != nil {
		t.Fatal(err)
	}
	f.conn.Close()
	if err := f.wait(); err == nil {
		t.Error("a message that ends early is not an error")
	}
}

func TestContextEndsServe(t *testing.T) {
	f := startRNG(t)
	reason := errors.New("enough")
	f.cancel(reason)
	if err := f.wait(); !errors.Is(err, reason) {
		t.Errorf("Serve: %v", err)
	}
	if f.dev.count() == 0 {
		t.Error("the device was not reset")
	}
}

func TestPeerThatReadsNoAnswers(t *testing.T) {
	f := startRNG(t)
	f.conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	for f.write(encode(reqGetFeatures, 0, nil)) == nil {
	}
	f.conn.Close()
	_ = f.wait() // that it returns; the last request may have been cut off
}

func TestUserAddressesAreTranslated(t *testing.T) {
	m := &memTable{regions: []region{{guest: 0x1000, size: 0x1000, user: 0x7000_0000}, {guest: 1 << 32, size: 0x2000, user: math.MaxUint64 - 0xfff}}}
	for _, c := range []struct {
		user, guest uint64
		ok          bool
	}{
		{0x7000_0000, 0x1000, true},
		{0x7000_0fff, 0x1fff, true},
		{0x7000_1000, 0, false},
		{0x6fff_ffff, 0, false},
		{0, 0, false}, // the second region's user range would wrap to here
		{math.MaxUint64, 1<<32 + 0xfff, true},
		{math.MaxUint64 - 0x1000, 0, false},
	} {
		got, err := m.guestAddr(c.user)
		if got != c.guest || (err == nil) != c.ok || err != nil && !errors.Is(err, guestmem.ErrOutOfRange) {
			t.Errorf("guestAddr(%#x) = %#x, %v", c.user, got, err)
		}
	}
}

func TestNoDescriptorLeaks(t *testing.T) {
	run := func() {
		dev := &recorder{Device: &rng.Device{}}
		f := connect(t, dev)
		f.Accept(virtio.FeatureVersion1)
		r := virtiotest.NewRing(t, f.mem, 0x1000, 16)
		for range 3 {
			f.SetupQueue(0, 16, r.DescAddr, r.AvailAddr, r.UsedAddr)
			f.Start()
			f.setMemTable()
			f.send(reqSetVringKick, putU64(0), f.queues[0].kick) // again, while it runs
			f.Reset()
		}
		f.Start()
		// 8 good descriptors and a bad table, then a hang-up with 3 on the way.
		many := make([]int, 8)
		for i := range many {
			many[i] = int(f.memfd.Fd())
		}
		f.write(encode(reqSetMemTable, 0, table([4]uint64{0, 4096, userBase, 0})), many...)
		f.write(encode(reqSetOwner, 0, nil), many[:3]...)
		f.wait()
		f.close()
	}
	run()
	before := openFiles(t)
	for range 20 {
		run()
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func BenchmarkPingPong(b *testing.B) {
	f := connect(b, &rng.Device{})
	f.Accept(virtio.FeatureVersion1 | virtio.FeatureEventIdx)
	r := virtiotest.NewRing(b, f.mem, 0x1000, 16)
	f.SetupQueue(0, 16, r.DescAddr, r.AvailAddr, r.UsedAddr)
	f.Start()
	r.SetDesc(3, 0x8000, 8, virtiotest.DescWrite, 0)
	for b.Loop() {
		r.Offer(3)
		f.Kick(0)
		for ok := false; !ok; _, ok = r.Used() {
			f.Interrupted(0, virtiotest.WaitTimeout)
		}
	}
}
