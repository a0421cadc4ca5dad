package virtiotest

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio"
)

// Transport is what a driver can do with a device over any transport. A method
// that cannot do its work fails the test.
type Transport interface {
	// Memory is guest memory: at least MemorySize bytes from address 0, and
	// nothing above 1 TiB.
	Memory() *guestmem.Memory
	// Features are the bits that the device offers.
	Features() uint64
	// Accept negotiates; it comes before Start.
	Accept(features uint64)
	// ReadConfig reads n bytes of the configuration space.
	ReadConfig(off uint32, n int) []byte
	// WriteConfig writes to the configuration space.
	WriteConfig(off uint32, p []byte)
	// SetupQueue writes the registers of queue i: guest addresses and a size.
	SetupQueue(i int, size uint16, desc, avail, used uint64)
	// Start makes the device run with the queues that are set up. Further queues
	// do not run.
	Start()
	// Kick notifies queue i; before Start, too.
	Kick(i int)
	// Interrupted waits for an interrupt of queue i since the last call. It
	// returns false when none comes in time.
	Interrupted(i int, timeout time.Duration) bool
	// Broken waits until the driver is told that queue i is broken. It returns
	// false when that does not happen in time.
	Broken(i int, timeout time.Duration) bool
	// Reset resets the device and returns when that is done.
	Reset()
}

// TransportSuite holds a transport to what virtio.Device promises devices and
// what the specification promises drivers. start attaches dev to a fresh
// transport, which goes away at the end of the test.
func TransportSuite(t *testing.T, start func(t *testing.T, dev virtio.Device) Transport) {
	for _, c := range []struct {
		name string
		run  func(*suite)
	}{
		{"features", (*suite).features},
		{"config", (*suite).config},
		{"echo", (*suite).echo},
		{"kick before start", (*suite).kickBeforeStart},
		{"reset with requests in flight", (*suite).resetInFlight},
		{"restart", (*suite).restart},
		{"rings outside memory", (*suite).ringsOutsideMemory},
		{"bad sizes", (*suite).badSizes},
		{"avail.idx jump", (*suite).availJump},
		{"registers rewritten", (*suite).registersRewritten},
		{"ring that feeds itself", (*suite).feedsItself},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := newEcho(t)
			s := &suite{T: t, dev: dev, tr: start(t, dev)}
			c.run(s)
		})
	}
}

// suite is one test of a fresh transport.
type suite struct {
	*testing.T
	dev  *echo
	tr   Transport
	next uint64 // free guest memory
}

const allFeatures = echoFeatures | virtio.FeatureVersion1 | virtio.FeatureIndirectDesc | virtio.FeatureEventIdx

func (s *suite) alloc(n int) uint64 {
	addr := (s.next + 4095) &^ 4095
	s.next = addr + uint64(n)
	if s.next > MemorySize {
		s.Fatal("virtiotest: guest memory is used up")
	}
	return addr
}

// ring lays out queue i in fresh memory.
func (s *suite) ring(i int, size uint16) *Ring {
	r := NewRing(s, s.tr.Memory(), s.alloc(RingBytes(size)), size)
	r.alloc = s.alloc
	r.kick = func() { s.tr.Kick(i) }
	return r
}

// setup tells the device where r is.
func (s *suite) setup(i int, r *Ring) {
	s.tr.SetupQueue(i, r.Size, r.DescAddr, r.AvailAddr, r.UsedAddr)
}

// startAll is a driver's whole start, on fresh rings.
func (s *suite) startAll() []*Ring {
	s.Helper()
	s.tr.Accept(allFeatures)
	var rings []*Ring
	for i, size := range s.dev.QueueSizes() {
		rings = append(rings, s.ring(i, size))
		s.setup(i, rings[i])
	}
	s.tr.Start()
	return rings
}

// send offers and kicks a request; room is where the answer goes.
func (s *suite) send(r *Ring, text string) (head uint16, room Buf) {
	room = r.Writable(len(text))
	head = r.Chain(r.Readable([]byte(text)), room)
	r.Offer(head)
	r.Kick()
	return head, room
}

// await waits for the next used entry, sleeping until the interrupt.
func (s *suite) await(i int, r *Ring) UsedElem {
	s.Helper()
	for deadline := time.Now().Add(WaitTimeout); ; {
		if e, ok := r.Used(); ok {
			// Whether the device looks at used_event before or after we look at
			// the used index must not matter: a full fence between the two.
			atomic.AddUint32(new(uint32), 1)
			return e
		}
		if !s.tr.Interrupted(i, time.Until(deadline)) {
			s.Fatalf("queue %d: no interrupt", i)
		}
	}
}

// echoes sends a request and checks its answer.
func (s *suite) echoes(i int, r *Ring, text string) {
	s.Helper()
	head, room := s.send(r, text)
	e := s.await(i, r)
	got := r.Bytes(room.Addr, room.Len)
	if e.ID != uint32(head) || e.Len != uint32(len(text)) || string(got) != text {
		s.Errorf("queue %d: used entry %+v for head %d, answer %q, want %q", i, e, head, got, text)
	}
}

func (s *suite) features() {
	if got := s.tr.Features(); got&allFeatures != allFeatures || got&^allFeatures&(1<<24-1) != 0 {
		s.Errorf("offers %#x, want %#x and no further device bits", got, allFeatures)
	}
	s.tr.Accept(virtio.FeatureVersion1 | 1<<5)
	r := s.ring(1, 8)
	s.setup(1, r)
	s.tr.Start()
	s.echoes(1, r, "without EVENT_IDX")
	if past := s.dev.past(); !follows(past, "features 0x20", "start 1") || slices.Contains(past, "features 0x21") {
		s.Errorf("accepted bit 5, and the device saw: %q", past)
	}
	s.tr.Reset()
	if got := s.tr.Features(); got&allFeatures != allFeatures {
		s.Errorf("offers %#x after a reset", got)
	}
}

func (s *suite) config() {
	for _, c := range []struct {
		off  uint32
		want string
	}{
		{0, "echo"}, {5, "device"}, {8, "ice here"}, {15, "e"},
		{12, "here\x00\x00\x00\x00"}, {16, "\x00\x00"}, {100, "\x00\x00\x00\x00"},
	} {
		if got := s.tr.ReadConfig(c.off, len(c.want)); string(got) != c.want {
			s.Errorf("ReadConfig(%d) = %q, want %q", c.off, got, c.want)
		}
	}
	s.tr.WriteConfig(5, []byte("DEV"))
	s.tr.WriteConfig(100, []byte("lost"))
	s.tr.WriteConfig(14, []byte("RE"))
	if got := s.tr.ReadConfig(0, 16); string(got) != "echo DEVice heRE" {
		s.Errorf("configuration after writes: %q", got)
	}
}

func (s *suite) echo() {
	rings := s.startAll()
	for n := range 600 { // more than the largest ring has
		s.next = 1 << 20
		for i, r := range rings {
			s.echoes(i, r, fmt.Sprintf("request %d on queue %d", n, i))
		}
	}
	for i, r := range rings {
		s.next = 1 << 20
		var rooms []Buf
		for range r.Size / 2 {
			room := r.Writable(64)
			rooms = append(rooms, room)
			r.Offer(r.Indirect(r.Readable(bytes.Repeat([]byte{byte(i + 1)}, 64)), room))
		}
		r.Kick()
		for range rooms {
			if e := s.await(i, r); e.Len != 64 {
				s.Errorf("queue %d: used entry %+v", i, e)
			}
		}
		for _, b := range rooms {
			if got := r.Bytes(b.Addr, b.Len); got[0] != byte(i+1) || got[63] != byte(i+1) {
				s.Errorf("queue %d: indirect answer %x", i, got)
			}
		}
	}
}

func (s *suite) kickBeforeStart() {
	s.tr.Accept(allFeatures)
	r := s.ring(0, 16)
	s.setup(0, r)
	s.send(r, "early")
	time.Sleep(10 * time.Millisecond)
	if _, ok := r.Used(); ok {
		s.Error("the device worked before its start")
	}
	s.tr.Start()
	s.await(0, r)
}

func (s *suite) resetInFlight() {
	rings := s.startAll()
	s.echoes(1, rings[1], "first")
	release := s.dev.holdQueue(1)
	defer release()
	_, room := s.send(rings[1], "in flight")
	for deadline := time.Now().Add(WaitTimeout); s.dev.saw("flying 1") == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatal("the kick did not reach the device")
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.tr.Reset()
	}()
	select {
	case <-done:
		s.Fatal("the reset did not wait for the request in flight")
	case <-time.After(30 * time.Millisecond):
	}
	if s.dev.saw("reset") != 0 {
		s.Error("the device was reset with a request in flight")
	}
	release()
	select {
	case <-done:
	case <-time.After(WaitTimeout):
		s.Fatal("the reset did not end")
	}
	// From here on the memory is the guest's.
	r := rings[1]
	for _, b := range [][]byte{r.Bytes(r.DescAddr, RingBytes(r.Size)), r.Bytes(room.Addr, room.Len)} {
		clear(b)
	}
	r.availIdx = 0
	s.send(r, "after the reset")
	before := bytes.Clone(r.Bytes(0, MemorySize))
	s.tr.Kick(1)
	time.Sleep(30 * time.Millisecond)
	if !bytes.Equal(before, r.Bytes(0, MemorySize)) {
		s.Error("guest memory changed after the reset")
	}
	s.startsAfresh()
}

func (s *suite) restart() {
	for range 3 {
		rings := s.startAll()
		for i, r := range rings {
			s.echoes(i, r, "again")
			s.echoes(i, r, "and again")
		}
		s.tr.Reset()
		for i := range rings {
			s.tr.Interrupted(i, 0)
		}
	}
	s.startsAfresh()
}

// startsAfresh starts a device that was reset, and checks that it was told about
// the reset between its two lives, once.
func (s *suite) startsAfresh() {
	s.Helper()
	n := len(s.dev.past())
	for n > 0 && !strings.HasPrefix(s.dev.past()[n-1], "stopped") {
		n--
	}
	for i, r := range s.startAll() {
		s.echoes(i, r, "a new life")
	}
	between := s.dev.past()[n:]
	first := slices.IndexFunc(between, func(h string) bool { return strings.HasPrefix(h, "start ") })
	if between = between[:first]; len(between) != 2 || between[0] != "reset" || !strings.HasPrefix(between[1], "features") {
		s.Errorf("between the last StopQueue and the next StartQueue the device saw %q", between)
	}
}

func (s *suite) ringsOutsideMemory() {
	const far = 1 << 41
	for _, c := range []struct {
		name  string
		wrong func(r *Ring)
	}{
		{"descriptor table", func(r *Ring) { r.DescAddr = far }},
		{"available ring", func(r *Ring) { r.AvailAddr = far }},
		{"used ring", func(r *Ring) { r.UsedAddr = far }},
		{"past the end", func(r *Ring) { r.DescAddr = s.tr.Memory().Size() - 16 }},
		{"wraps", func(r *Ring) { r.DescAddr = math.MaxUint64 - 15 }},
		{"not aligned", func(r *Ring) { r.UsedAddr += 2 }},
	} {
		s.badQueue(c.name, func() {
			r := s.ring(0, 16)
			c.wrong(r)
			s.setup(0, r)
		})
	}
}

func (s *suite) badSizes() {
	for _, size := range []uint16{0, 3, 32, 32768} { // the device's own is 16
		s.badQueue(fmt.Sprint(size), func() {
			r := s.ring(0, 16)
			s.tr.SetupQueue(0, size, r.DescAddr, r.AvailAddr, r.UsedAddr)
		})
	}
}

// badQueue sets up queue 0 wrongly: it must not run, and queue 1 must.
func (s *suite) badQueue(name string, setup func()) {
	s.Helper()
	s.next = 0
	s.tr.Accept(allFeatures)
	setup()
	r := s.ring(1, 16)
	s.setup(1, r)
	s.tr.Start()
	s.tr.Kick(0)
	s.echoes(1, r, "the other queue")
	if s.dev.saw("start 0") != 0 {
		s.Errorf("%s: the queue was started", name)
	}
	s.tr.Reset()
}

func (s *suite) availJump() {
	rings := s.startAll()
	r := rings[1]
	s.echoes(1, r, "fine")
	r.SetAvailIdx(r.availIdx + r.Size + 1)
	r.Kick()
	if !s.tr.Broken(1, WaitTimeout) {
		s.Error("the driver was not told")
	}
	s.echoes(0, rings[0], "the queues before")
	s.echoes(2, rings[2], "and behind")
	r.SetAvailIdx(r.availIdx - r.Size)
	r.Kick()
	time.Sleep(10 * time.Millisecond)
	if e, ok := r.Used(); ok {
		s.Errorf("the broken queue answered: %+v", e)
	}
	s.tr.Reset()
	s.startsAfresh()
}

func (s *suite) registersRewritten() {
	rings := s.startAll()
	s.echoes(2, rings[2], "before")
	other := s.ring(2, 8)
	image := bytes.Clone(other.Bytes(other.DescAddr, RingBytes(8)))
	s.setup(2, other)
	s.echoes(2, rings[2], "after")
	s.echoes(0, rings[0], "other queues")
	if !bytes.Equal(image, other.Bytes(other.DescAddr, RingBytes(8))) {
		s.Error("the device touched rings that it was told of after its start")
	}
}

// feedsItself lays the used ring over the available ring, one entry ahead: each
// answer makes the next chain available, with no driver at work. That must not
// keep the device from being stopped.
func (s *suite) feedsItself() {
	s.tr.Accept(allFeatures)
	r := s.ring(1, 64)
	r.UsedAddr = r.AvailAddr
	r.SetDesc(0, s.alloc(16), 0, 0, 0)
	r.SetAvailIdx(1)
	s.setup(1, r)
	s.tr.Start()
	r.Kick()
	idx := r.Bytes(r.AvailAddr+2, 2)
	for deadline := time.Now().Add(WaitTimeout); le.Uint16(idx) < 3*r.Size; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("the ring stopped at %d", le.Uint16(idx))
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.tr.Reset()
	}()
	select {
	case <-done:
	case <-time.After(WaitTimeout):
		s.Fatal("the reset did not end")
	}
	s.startsAfresh()
}

// follows reports whether a comes before b in past.
func follows(past []string, a, b string) bool {
	i, j := slices.Index(past, a), slices.Index(past, b)
	return i >= 0 && j > i
}
