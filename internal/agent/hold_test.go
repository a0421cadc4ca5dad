package agent

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// heldBox is what the host sees of a hold.
type heldBox struct {
	*hold
	t    *testing.T
	done chan error
}

// spinFreely lets this process, which plays the host too, go on while a goroutine of it
// spins: that keeps one of those that can run at a time, and no garbage can be collected.
func spinFreely(t *testing.T) {
	t.Helper()
	procs, percent := runtime.GOMAXPROCS(4), debug.SetGCPercent(-1)
	t.Cleanup(func() {
		runtime.GOMAXPROCS(procs)
		debug.SetGCPercent(percent)
	})
}

// testHold is openHold that is closed after the test.
func testHold(t *testing.T, n int) heldBox {
	t.Helper()
	h := openHold(t, n)
	t.Cleanup(h.close)
	return h
}

// openHold is a hold by n threads that are put on no processor: they compete with
// whatever runs.
func openHold(t *testing.T, n int) heldBox {
	t.Helper()
	spinFreely(t)
	m, err := newMailbox()
	if err != nil {
		t.Skipf("needs root, to know where memory is: %v", err)
	}
	h := &hold{
		mailbox: m, timeout: int64(20 * time.Second), place: func(int, int) error { return nil },
		online: func() ([]int, error) { return make([]int, n), nil }, gate: &holdGate{},
	}
	h.cpus, _ = h.online()
	if h.random, err = unix.Open("/dev/urandom", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	return heldBox{h, t, make(chan error, 1)}
}

func (h heldBox) start() { go func() { h.done <- h.run() }() }

func (h heldBox) state() uint32 {
	return atomic.LoadUint32(&h.box.state)
}

// await waits for a state.
func (h heldBox) await(want uint32) {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); h.state() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("the state is %d, not %d", h.state(), want)
		}
	}
}

// say is the host's word.
func (h heldBox) say(state uint32) {
	binary.LittleEndian.PutUint32(h.page[agentproto.MailboxState:], state)
}

// ended waits for the end, which is an error with a text or none.
func (h heldBox) ended(want string) {
	h.t.Helper()
	select {
	case err := <-h.done:
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			h.t.Errorf("error %v, want %q", err, want)
		}
	case <-time.After(20 * time.Second):
		h.t.Fatal("the hold does not end")
	}
}

func TestHold(t *testing.T) {
	for _, n := range []int{1, 2, 5} {
		h := testHold(t, n)
		if got := string(h.page[:len(agentproto.MailboxMagic)]); got != agentproto.MailboxMagic || h.addr == 0 || h.addr%4096 != 0 {
			t.Fatalf("magic %q at %#x", got, h.addr)
		}
		h.start()
		h.await(agentproto.MailboxFrozen)
		if got := atomic.LoadUint32(&h.gate.arrived); got != uint32(n-1) {
			t.Errorf("frozen with %d holders and the leader on %d processors", got, n)
		}
		h.say(agentproto.MailboxGoOn)
		h.ended("")
		if h.pool.size != 0 {
			t.Error("the machine that goes on takes over a seed")
		}
	}
}

// TestHoldNeedsNothingOfGo: the holders are as many as they like, with but one goroutine
// at a time that can run.
func TestHoldNeedsNothingOfGo(t *testing.T) {
	h := testHold(t, 9)
	h.timeout = int64(50 * time.Millisecond) // nobody can run who would speak for the host
	runtime.GOMAXPROCS(1)
	var turns int
	var stop atomic.Bool
	busy := make(chan struct{})
	go func() {
		defer close(busy)
		for !stop.Load() {
			turns++
		}
	}()
	err := h.run()
	stop.Store(true)
	<-busy
	if err == nil || h.gate.arrived != 8 || h.gate.left != 8 {
		t.Errorf("%+v, %v", h.gate, err)
	}
}

// TestHoldClone: the seed is taken over once, and does not stay in memory.
func TestHoldClone(t *testing.T) {
	h := testHold(t, 3)
	h.start()
	h.await(agentproto.MailboxFrozen)
	copy(h.page[agentproto.MailboxSeed:], "a seed that nobody else knows...")
	h.say(agentproto.MailboxClone)
	h.ended("")
	if h.pool.size != agentproto.MailboxSeedSize || h.pool.bits != 256 || h.pool.bytes != [agentproto.MaxSeed]byte{} {
		t.Errorf("the pool is %+v", h.pool)
	}
	if h.box.seed != [agentproto.MailboxSeedSize]byte{} {
		t.Error("the seed stays in the mailbox")
	}

	h = testHold(t, 3)
	_ = unix.Close(h.random)
	var err error
	if h.random, err = unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.await(agentproto.MailboxFrozen)
	h.say(agentproto.MailboxClone)
	h.ended("take over") // and the other threads ended too
}

// TestHoldGivesUp: the host sees that programs run, and nothing waits for ever.
func TestHoldGivesUp(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*hold)
		want   string
		state  uint32
	}{
		{"the host does not answer", func(h *hold) { h.timeout = int64(20 * time.Millisecond) }, "too long", agentproto.MailboxGoOn},
		{"the page has moved", func(h *hold) { h.addr += 4096 }, "moved", agentproto.MailboxGoOn},
		{"no processor", func(h *hold) { h.place = func(int, int) error { return unix.EPERM } }, "take processor", agentproto.MailboxArming},
		{"not the last processor", func(h *hold) {
			h.place = func(int, int) error {
				if h.started < 2 {
					return nil
				}
				return unix.EINVAL
			}
		}, "take processor", agentproto.MailboxArming},
		{"a new processor", func(h *hold) { h.online = func() ([]int, error) { return make([]int, 7), nil } }, "other processors", agentproto.MailboxArming},
	} {
		h := testHold(t, 3)
		tt.change(h.hold)
		h.start()
		h.ended(tt.want)
		if h.state() != tt.state {
			t.Errorf("%s: the state is %d, want %d", tt.name, h.state(), tt.state)
		}
	}
}

// TestHostHasTheLastWord: it may come between a thread's last look and its giving up.
func TestHostHasTheLastWord(t *testing.T) {
	h := testHold(t, 1)
	for _, said := range []uint32{agentproto.MailboxGoOn, agentproto.MailboxClone} {
		h.say(said)
		if h.giveUp(); h.state() != said || h.gaveUp {
			t.Errorf("%d became %d", said, h.state())
		}
	}
}

func TestSuspendThrottling(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limit")
	suspendThrottling(file)() // a kernel without
	if err := os.WriteFile(file, []byte("95\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	restore := suspendThrottling(file)
	if b, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(b), "-1") {
		t.Errorf("suspended: %q, %v", b, err)
	}
	restore()
	if b, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(b), "95") {
		t.Errorf("restored: %q, %v", b, err)
	}
}

func TestFrameOf(t *testing.T) {
	for entry, want := range map[uint64]uint64{
		0: 0, 5: 0, 1<<63 | 5: 5, 1<<63 | 1<<61 | 1<<55 | 0x1234: 0x1234, 1 << 62: 0,
	} {
		if got := frameOf(entry); got != want {
			t.Errorf("entry %#x: frame %#x, want %#x", entry, got, want)
		}
	}
}

func TestReseed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to seed random numbers")
	}
	for _, n := range []int{agentproto.MinSeed, agentproto.MaxSeed} {
		if err := reseed(make([]byte, n)); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
