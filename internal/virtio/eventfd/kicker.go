package eventfd

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Kicker runs a function in one goroutine whenever an eventfd is signalled.
//
// While signals come thick and fast it waits for the next one in a raw poll(2), with
// the Go processor in hand: a signal then goes straight to the thread that serves
// it, as in a C program. When there was none for hotWait it waits in Go's network
// poller, which costs nothing.
//
// The poller does not watch the eventfd itself, or each signal would wake one of
// its threads too: it watches an epoll descriptor of ours, in which the eventfd is
// armed for one signal whenever we turn to the poller.
type Kicker struct {
	fd       int      // eventfd
	file     *os.File // epoll
	conn     syscall.RawConn
	done     chan struct{} // not nil while running; closed when the goroutine ended
	stopping atomic.Bool
	waiting  atomic.Bool // next waits, or is about to
}

// hotWait is how long a kicker waits with a processor in hand, and how soon after
// the last signal one must come for that to be worth it: a wait in vain costs more
// than the poller does. Under software emulation a guest that copies a megabyte
// between two requests takes 5 ms. From 10 ms on Go interrupts the wait itself.
const hotWait = 8 * time.Millisecond

// hot is taken by the one kicker that may keep a processor. There is one for the
// whole process because processors are the process's, too.
var hot atomic.Bool

// NewKicker takes over fd, an eventfd or something else that can be polled, and
// makes it non-blocking. With an error, fd is closed.
func NewKicker(fd int) (*Kicker, error) {
	k, err := openKicker(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("poll kick descriptor: %w", err)
	}
	return k, nil
}

func openKicker(fd int) (*Kicker, error) {
	if err := unix.SetNonblock(fd, true); err != nil { // QEMU's is already
		return nil, err
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(ep, true); err != nil {
		unix.Close(ep)
		return nil, err
	}
	k := &Kicker{fd: fd, file: os.NewFile(uintptr(ep), "kick")}
	err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLONESHOT})
	if err == nil {
		err = k.file.SetReadDeadline(time.Time{})
	}
	if err == nil {
		k.conn, err = k.file.SyscallConn()
	}
	if err != nil {
		k.file.Close()
		return nil, err
	}
	return k, nil
}

// FD is the eventfd. It stays the kicker's.
func (k *Kicker) FD() int { return k.fd }

// Start calls fn once, because signals from before may have been consumed, and
// then after every signal, until Stop: not even once when that comes at once.
// Start and Stop come in turns.
func (k *Kicker) Start(fn func()) {
	k.setDeadline(time.Time{})
	k.stopping.Store(false)
	done := make(chan struct{})
	k.done = done
	go func() {
		defer close(done)
		var count [8]byte
		var events [1]unix.EpollEvent
		var last time.Time // when fn was done last
		_ = k.conn.Read(func(ep uintptr) bool {
			_, _ = unix.EpollWait(int(ep), events[:], 0) // take it back
			for again := time.Since(last) < hotWait; ; {
				rawRead(k.fd, count[:])
				fn()
				if last = time.Now(); !again || !k.next() {
					break
				}
			}
			// EPOLLONESHOT: armed again; a signal that came meanwhile counts.
			_ = unix.EpollCtl(int(ep), unix.EPOLL_CTL_MOD, k.fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT})
			return false
		})
	}()
}

// next waits for a signal for a short while, if nobody else does and a processor
// is left for everything else, and reports whether one came.
func (k *Kicker) next() bool {
	if k.stopping.Load() || runtime.GOMAXPROCS(0) == 1 || !hot.CompareAndSwap(false, true) {
		return false
	}
	k.waiting.Store(true)
	ok := !k.stopping.Load() && rawWait(k.fd, int64(hotWait))
	k.waiting.Store(false)
	hot.Store(false)
	return ok && !k.stopping.Load()
}

// Stop returns when fn does not run and will not run again before the next
// Start. A kicker that does not run is stopped already.
func (k *Kicker) Stop() {
	if k.done == nil {
		return
	}
	k.stopping.Store(true)
	k.setDeadline(time.Unix(1, 0)) // in the past: ends the wait and every later one
	if k.waiting.Load() {          // not in the poller: next saw stopping, or gets this
		Signal(k.fd)
	}
	<-k.done
	k.done = nil
}

// setDeadline cannot fail: NewKicker has tried it.
func (k *Kicker) setDeadline(t time.Time) { _ = k.file.SetReadDeadline(t) }

// Close stops and closes the eventfd.
func (k *Kicker) Close() {
	k.Stop()
	k.file.Close()
	unix.Close(k.fd)
}
