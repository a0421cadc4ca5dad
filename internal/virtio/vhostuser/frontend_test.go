package vhostuser

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/eventfd"
	"github.com/holtvm/holt/internal/virtiotest"
)

// userBase is where the pretended front end has guest memory mapped.
const userBase = 0x7f00_0000_0000

// frontEnd plays QEMU: it owns guest memory and speaks the protocol in QEMU's
// order.
type frontEnd struct {
	t      testing.TB
	conn   *net.UnixConn
	memfd  *os.File
	mem    *guestmem.Memory
	acks   bool // REPLY_ACK was negotiated
	queues []*frontQueue
	served chan error
	cancel context.CancelCauseFunc
	closed bool
}

type frontQueue struct {
	kick, call, err int
	set             bool
}

// socketpair returns both ends of a connection.
func socketpair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
	}
	return conns[0], conns[1]
}

func newEventfd(t testing.TB) int {
	t.Helper()
	fd, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// connect serves dev to a new front end, up to the state in which QEMU has
// realized the device.
func connect(t testing.TB, dev virtio.Device) *frontEnd {
	t.Helper()
	near, far := socketpair(t)
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := &frontEnd{t: t, conn: near, memfd: os.NewFile(uintptr(fd), "guest"), served: make(chan error, 1)}
	if err := f.memfd.Truncate(virtiotest.MemorySize); err != nil {
		t.Fatal(err)
	}
	if f.mem, err = guestmem.Map([]guestmem.Region{{Size: virtiotest.MemorySize, File: f.memfd}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	f.cancel = cancel
	go func() { f.served <- Serve(ctx, far, dev, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(f.close)

	f.get(reqGetFeatures)
	protocol := le.Uint64(f.get(reqGetProtocolFeatures))
	f.send(reqSetProtocolFeatures, putU64(protocol))
	f.acks = protocol&protocolReplyAck != 0
	f.send(reqSetOwner, nil)
	if n := le.Uint64(f.get(reqGetQueueNum)); n != uint64(len(dev.QueueSizes())) {
		t.Fatalf("GET_QUEUE_NUM = %d", n)
	}
	for i := range dev.QueueSizes() {
		q := &frontQueue{kick: newEventfd(t), call: newEventfd(t), err: newEventfd(t)}
		f.queues = append(f.queues, q)
		f.send(reqSetVringCall, putU64(uint64(i)), q.call)
		f.send(reqSetVringErr, putU64(uint64(i)), q.err)
	}
	return f
}

// close hangs up and expects a clean end, unless the test took the result.
func (f *frontEnd) close() {
	if f.closed {
		return
	}
	f.closed = true
	f.conn.Close()
	if err := f.wait(); err != nil {
		f.t.Errorf("Serve: %v", err)
	}
	f.cancel(nil)
	f.mem.Close()
	f.memfd.Close()
	for _, q := range f.queues {
		unix.Close(q.kick)
		unix.Close(q.call)
		unix.Close(q.err)
	}
}

// wait returns what Serve returned, once; later calls give nil.
func (f *frontEnd) wait() error {
	select {
	case err := <-f.served:
		f.served <- nil
		return err
	case <-time.After(virtiotest.WaitTimeout):
		f.t.Fatal("Serve did not return")
		return nil
	}
}

// write sends raw bytes with descriptors; the peer may be gone.
func (f *frontEnd) write(b []byte, fds ...int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err := f.conn.WriteMsgUnix(b, oob, nil)
	return err
}

// encode builds a request.
func encode(r request, flags uint32, payload []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(r))
	b = le.AppendUint32(b, flagVersion|flags)
	b = le.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// read reads an answer to r.
func (f *frontEnd) read(r request) []byte {
	f.t.Helper()
	f.conn.SetReadDeadline(time.Now().Add(virtiotest.WaitTimeout))
	head := make([]byte, headerSize)
	n, err := readFull(f.conn, head)
	if err != nil {
		f.t.Fatalf("%v: answer ends after %d bytes: %v", r, n, err)
	}
	if request(le.Uint32(head)) != r || le.Uint32(head[4:]) != flagVersion|flagReply {
		f.t.Fatalf("%v: answer has header %x", r, head)
	}
	body := make([]byte, le.Uint32(head[8:]))
	if _, err := readFull(f.conn, body); err != nil {
		f.t.Fatalf("%v: %v", r, err)
	}
	return body
}

func readFull(c *net.UnixConn, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := c.Read(b[n:])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// send sends a request that has no answer of its own; with acks it waits until it
// has been done.
func (f *frontEnd) send(r request, payload []byte, fds ...int) {
	f.t.Helper()
	flags := uint32(0)
	if f.acks {
		flags = flagNeedReply
	}
	if err := f.write(encode(r, flags, payload), fds...); err != nil {
		f.t.Fatalf("%v: %v", r, err)
	}
	if f.acks {
		if got := f.read(r); len(got) != 8 || le.Uint64(got) != 0 {
			f.t.Fatalf("%v: acknowledged with %x", r, got)
		}
	}
}

// get sends a request without payload and returns its answer.
func (f *frontEnd) get(r request) []byte {
	f.t.Helper()
	return f.ask(r, nil)
}

// ask sends a request and returns its answer.
func (f *frontEnd) ask(r request, payload []byte) []byte {
	f.t.Helper()
	if err := f.write(encode(r, 0, payload)); err != nil {
		f.t.Fatalf("%v: %v", r, err)
	}
	return f.read(r)
}

// vring is the payload of messages that are a queue and a number.
func vring(i int, num uint32) []byte {
	return le.AppendUint32(le.AppendUint32(nil, uint32(i)), num)
}

// table is the payload of a memory table: for each region guest address, size,
// user address and offset.
func table(regions ...[4]uint64) []byte {
	b := le.AppendUint64(nil, uint64(len(regions)))
	for _, r := range regions {
		for _, v := range r {
			b = le.AppendUint64(b, v)
		}
	}
	return b
}

// setMemTable passes guest memory in two regions, as QEMU does around the hole
// below 1 MiB.
func (f *frontEnd) setMemTable() {
	f.t.Helper()
	const low = 1 << 19
	f.send(reqSetMemTable, table(
		[4]uint64{0, low, userBase, 0},
		[4]uint64{low, virtiotest.MemorySize - low, userBase + low, low},
	), int(f.memfd.Fd()), int(f.memfd.Fd()))
}

// Memory implements virtiotest.Transport.
func (f *frontEnd) Memory() *guestmem.Memory { return f.mem }

// Features implements virtiotest.Transport.
func (f *frontEnd) Features() uint64 { return le.Uint64(f.get(reqGetFeatures)) }

// Accept implements virtiotest.Transport.
func (f *frontEnd) Accept(features uint64) {
	f.send(reqSetFeatures, putU64(features|featureProtocolFeatures))
	f.setMemTable()
}

// ReadConfig implements virtiotest.Transport.
func (f *frontEnd) ReadConfig(off uint32, n int) []byte {
	p := append(append(vring(int(off), uint32(n)), 0, 0, 0, 0), make([]byte, n)...)
	return f.ask(reqGetConfig, p)[configHeader:]
}

// WriteConfig implements virtiotest.Transport.
func (f *frontEnd) WriteConfig(off uint32, p []byte) {
	f.send(reqSetConfig, append(append(vring(int(off), uint32(len(p))), 0, 0, 0, 0), p...))
}

// SetupQueue implements virtiotest.Transport.
func (f *frontEnd) SetupQueue(i int, size uint16, desc, avail, used uint64) {
	f.send(reqSetVringNum, vring(i, uint32(size)))
	f.send(reqSetVringBase, vring(i, 0))
	b := vring(i, 0)
	for _, v := range []uint64{userBase + desc, userBase + used, userBase + avail, 0} {
		b = le.AppendUint64(b, v)
	}
	f.send(reqSetVringAddr, b)
	f.queues[i].set = true
}

// Start implements virtiotest.Transport.
func (f *frontEnd) Start() {
	for i, q := range f.queues {
		if q.set {
			f.send(reqSetVringKick, putU64(uint64(i)), q.kick)
			f.send(reqSetVringCall, putU64(uint64(i)), q.call)
		}
	}
	for i, q := range f.queues {
		if q.set {
			f.send(reqSetVringEnable, vring(i, 1))
		}
	}
}

// Kick implements virtiotest.Transport.
func (f *frontEnd) Kick(i int) { eventfd.Signal(f.queues[i].kick) }

// Interrupted implements virtiotest.Transport.
func (f *frontEnd) Interrupted(i int, timeout time.Duration) bool {
	return signalled(f.queues[i].call, timeout)
}

// Broken implements virtiotest.Transport.
func (f *frontEnd) Broken(i int, timeout time.Duration) bool {
	return signalled(f.queues[i].err, timeout)
}

// signalled waits for an eventfd and clears it.
func signalled(fd int, timeout time.Duration) bool {
	deadline := time.Now().Add(timeout)
	for {
		left := max(time.Until(deadline), 0)
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		var b [8]byte
		if n, _ := unix.Read(fd, b[:]); n == 8 {
			return true
		}
		if err != unix.EINTR && left == 0 {
			return false
		}
	}
}

// Reset implements virtiotest.Transport: it is how QEMU 7.2 stops a device.
func (f *frontEnd) Reset() {
	for i := range f.queues {
		f.send(reqSetVringEnable, vring(i, 0))
	}
	for i, q := range f.queues {
		f.base(i)
		q.set = false
	}
}

// base stops ring i and returns its position.
func (f *frontEnd) base(i int) uint32 {
	f.t.Helper()
	got := f.ask(reqGetVringBase, vring(i, 0))
	if len(got) != 8 || le.Uint32(got) != uint32(i) {
		f.t.Fatalf("GET_VRING_BASE answered %x", got)
	}
	return le.Uint32(got[4:])
}

var _ virtiotest.Transport = (*frontEnd)(nil)

// recorder is a device that counts what is done to it.
type recorder struct {
	virtio.Device
	mu     sync.Mutex
	resets int
}

func (r *recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resets++
	r.Device.Reset()
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.resets
}
