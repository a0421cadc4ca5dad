package fs_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtio/fs"
	"github.com/holtvm/holt/internal/virtiotest"
)

// echo answers each request with its own bytes; opcode 20 (FSYNC) blocks until
// release is closed.
type echo struct {
	release chan struct{}
	active  atomic.Int32
	resets  atomic.Int32
}

func (e *echo) HandleRequest(in, out [][]byte) int {
	e.active.Add(1)
	defer e.active.Add(-1)
	req := bytes.Join(in, nil)
	if len(req) >= 8 && binary.LittleEndian.Uint32(req[4:]) == 20 {
		<-e.release
	}
	n := 0
	for _, b := range out {
		n += copy(b, req[n:])
	}
	return n
}

func (e *echo) Reset() { e.resets.Add(1) }

func (e *echo) SaveState() ([]byte, error) { return []byte("{}"), nil }

func (e *echo) LoadState([]byte) error { return nil }

func start(t *testing.T, queues int) (*virtiotest.Driver, *echo) {
	t.Helper()
	e := &echo{release: make(chan struct{})}
	dev, err := fs.New("root", queues, e)
	if err != nil {
		t.Fatal(err)
	}
	return virtiotest.Start(t, dev, virtiotest.Options{QueueSize: 128}), e
}

func request(opcode uint32, text string) []byte {
	b := make([]byte, 8, 8+len(text))
	binary.LittleEndian.PutUint32(b[4:], opcode)
	return append(b, text...)
}

func TestEveryQueueCarriesRequests(t *testing.T) {
	d, _ := start(t, 3)
	if n := len(d.Dev.QueueSizes()); n != 4 {
		t.Fatalf("%d queues", n)
	}
	for i := range 4 {
		for round := range 300 {
			want := request(1, strings.Repeat("x", round))
			if got := d.Queue(i).Do(want, 1000); !bytes.Equal(got, want) {
				t.Fatalf("queue %d, round %d: %q", i, round, got)
			}
		}
		d.Restart()
	}
}

func TestConfigSpace(t *testing.T) {
	d, _ := start(t, 3)
	cfg := make([]byte, 48)
	d.Dev.ReadConfig(0, cfg)
	if !bytes.HasPrefix(cfg, []byte("root\x00")) || cfg[36] != 3 || !bytes.Equal(cfg[37:], make([]byte, 11)) {
		t.Errorf("config %q", cfg)
	}
	for _, off := range []uint32{40, 1 << 31, ^uint32(0)} {
		p := []byte{1, 2, 3}
		if d.Dev.ReadConfig(off, p); !bytes.Equal(p, []byte{0, 0, 0}) {
			t.Errorf("config at %d: %v", off, p)
		}
	}
	for _, tag := range []string{"", strings.Repeat("t", 37)} {
		if _, err := fs.New(tag, 1, &echo{}); err == nil {
			t.Errorf("tag %q is accepted", tag)
		}
	}
	if _, err := fs.New("t", 0, &echo{}); err == nil {
		t.Error("a device without request queues is accepted")
	}
}

func TestSlowRequestHoldsUpNobody(t *testing.T) {
	d, e := start(t, 1)
	q := d.Queue(1)
	q.Offer(q.Chain(q.Readable(request(20, "slow")), q.Writable(64)))
	q.Kick()
	for range 50 {
		if got := q.Do(request(1, "quick"), 64); !bytes.HasSuffix(got, []byte("quick")) {
			t.Fatalf("got %q", got)
		}
	}
	close(e.release)
	if used := q.WaitUsed(); used.Len != 12 {
		t.Fatalf("the slow request came back with %+v", used)
	}
}

// TestStopWaitsForRequests: after StopQueue nothing may write guest memory.
func TestStopWaitsForRequests(t *testing.T) {
	d, e := start(t, 1)
	q := d.Queue(1)
	q.Offer(q.Chain(q.Readable(request(20, "slow")), q.Writable(64)))
	q.Kick()
	var wg sync.WaitGroup
	stopped := make(chan struct{})
	wg.Go(func() { d.Dev.StopQueue(1); close(stopped) })
	select {
	case <-stopped:
		t.Error("StopQueue did not wait")
	case <-time.After(30 * time.Millisecond):
	}
	close(e.release)
	wg.Wait()
	if n := e.active.Load(); n != 0 {
		t.Errorf("%d requests still run", n)
	}
	d.Dev.Reset()
	if e.resets.Load() != 1 {
		t.Error("the server was not reset")
	}
	d.Restart()
	if got := d.Queue(1).Do(request(1, "again"), 64); len(got) != 13 {
		t.Fatalf("after a restart: %q", got)
	}
}
