package usernet

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/usernet/policy"
)

// How long a flow may be silent before it is forgotten: one that was answered, and
// one that was not.
const (
	flowIdle       = 60 * time.Second
	flowUnanswered = 30 * time.Second
)

// flowKey tells flows apart.
type flowKey struct {
	protocol policy.Protocol // UDP or ICMP
	guest    uint16          // the guest's port, or the identifier of its echo requests
	remote   netip.AddrPort  // as the guest sees it
}

// flow is a socket of the host for what the guest exchanges with one remote.
type flow struct {
	key      flowKey
	target   netip.AddrPort // what remote is for the host
	conn     net.Conn
	raw      syscall.RawConn
	filter   func([]byte) ([]byte, bool) // of a raw socket, or nil
	lastUsed atomic.Int64                // nanoseconds of the Unix time
	answered atomic.Bool
	timer    *time.Timer
	place    *list.Element
}

// flows is the table of the guest's flows, in order of use.
type flows struct {
	network *Network
	mu      sync.Mutex
	byKey   map[flowKey]*flow
	order   list.List // of *flow, the one used last in front
	closed  bool
}

func newFlows(n *Network) *flows { return &flows{network: n, byKey: make(map[flowKey]*flow)} }

// get returns a flow, which has been used now, or nil.
func (t *flows) get(key flowKey) *flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.byKey[key]
	if f != nil {
		t.order.MoveToFront(f.place)
		f.lastUsed.Store(time.Now().UnixNano())
	}
	return f
}

// open adds a flow with a connected socket, and starts to read from it. The flow
// that was silent for longest makes room.
func (t *flows) open(key flowKey, target netip.AddrPort, conn net.Conn, filter func([]byte) ([]byte, bool)) *flow {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil || !t.network.begin() {
		_ = conn.Close()
		return nil
	}
	f := &flow{key: key, target: target, conn: conn, raw: raw, filter: filter}
	f.lastUsed.Store(time.Now().UnixNano())
	t.mu.Lock()
	if other := t.byKey[key]; t.closed || other != nil { // two frames at the same time
		t.mu.Unlock()
		t.network.tasks.Done()
		_ = conn.Close()
		return other
	}
	var oldest *flow
	if t.order.Len() >= t.network.limits.flows {
		oldest = t.order.Back().Value.(*flow)
		t.removeLocked(oldest)
	}
	t.byKey[key] = f
	f.place = t.order.PushFront(f)
	f.timer = time.AfterFunc(flowUnanswered, func() { t.expire(f) })
	t.mu.Unlock()
	if oldest != nil {
		_ = oldest.conn.Close()
	}
	t.network.counters.flows.Add(1)
	go func() {
		defer t.network.tasks.Done()
		defer t.remove(f)
		t.network.readFlow(f)
	}()
	return f
}

// expire removes a flow that was silent for long, or looks again later.
func (t *flows) expire(f *flow) {
	limit := flowUnanswered
	if f.answered.Load() {
		limit = flowIdle
	}
	t.mu.Lock()
	if f.place == nil {
		t.mu.Unlock()
		return
	}
	if left := limit - time.Since(time.Unix(0, f.lastUsed.Load())); left > 0 {
		f.timer.Reset(left)
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	t.remove(f)
}

func (t *flows) remove(f *flow) {
	t.mu.Lock()
	t.removeLocked(f)
	t.mu.Unlock()
	_ = f.conn.Close()
}

func (t *flows) removeLocked(f *flow) {
	if f.place == nil {
		return
	}
	f.timer.Stop()
	t.order.Remove(f.place)
	f.place = nil
	delete(t.byKey, f.key)
}

// close removes all flows. There will be no others.
func (t *flows) close() {
	t.mu.Lock()
	t.closed = true
	var all []*flow
	for _, f := range t.byKey {
		all = append(all, f)
	}
	t.mu.Unlock()
	for _, f := range all {
		t.remove(f)
	}
}

// send sends a message without waiting. What the socket has no room for is lost.
func (f *flow) send(b []byte) (err error) {
	werr := f.raw.Write(func(fd uintptr) bool {
		_, err = ignoringEINTR(func() (int, error) {
			return unix.SendmsgN(int(fd), b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		})
		return true
	})
	if werr != nil {
		return werr
	}
	return err
}

// datagrams are buffers for the largest datagram. They are in use only while there
// is one.
var datagrams = sync.Pool{New: func() any { return new([1 << 16]byte) }}

// receive waits for a message and hands it to use, which must not keep it.
func (f *flow) receive(use func([]byte)) (err error) {
	rerr := f.raw.Read(func(fd uintptr) bool {
		b := datagrams.Get().(*[1 << 16]byte)
		defer datagrams.Put(b)
		var n int
		n, err = ignoringEINTR(func() (int, error) {
			n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT)
			return n, err
		})
		if err == unix.EAGAIN {
			return false
		}
		if err == nil {
			use(b[:n])
		}
		return true
	})
	if rerr != nil {
		return rerr
	}
	return err
}

// readFlow passes on what a flow's socket receives, until it is closed.
func (n *Network) readFlow(f *flow) {
	for {
		err := f.receive(func(b []byte) {
			f.answered.Store(true)
			f.lastUsed.Store(time.Now().UnixNano())
			n.fromRemote(f, b)
		})
		if err != nil && !n.flowError(f, err) {
			return
		}
	}
}

// fromRemote passes a message of a flow's remote on to the guest.
func (n *Network) fromRemote(f *flow, b []byte) {
	if f.key.protocol == policy.ICMP {
		n.relayEcho(f, b)
		return
	}
	n.sendUDP(f.key.remote, n.layout.guestAt(f.key.remote.Addr(), f.key.guest), b)
}

// flowError tells the guest what became of its message, if err says so, and
// reports whether the flow's socket is still of use.
func (n *Network) flowError(f *flow, err error) bool {
	var why refusal
	var errno unix.Errno
	errors.As(err, &errno)
	switch errno {
	case unix.ECONNREFUSED:
		why = portUnreachable
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.EPERM:
		why = hostUnreachable
	case unix.EAGAIN, unix.EMSGSIZE, unix.ENOBUFS:
		return true
	default:
		return false
	}
	if f.key.protocol == policy.UDP {
		n.refuse(quoteUDP(n.layout.guestAt(f.key.remote.Addr(), f.key.guest), f.key.remote), why)
	}
	return true
}
