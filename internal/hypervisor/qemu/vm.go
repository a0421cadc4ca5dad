package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/vhostuser"
)

// vm is a running QEMU and what we serve to it.
type vm struct {
	child  *child
	qmp    *qmp
	log    *slog.Logger
	parts  sync.WaitGroup // goroutines that end when the child has ended
	killed atomic.Bool
	done   chan struct{}

	mu      sync.Mutex
	failure error // the first thing of ours that failed while the child ran

	err error // set before done is closed
}

var _ hypervisor.VM = (*vm)(nil)

// launch starts the devices' servers and the child.
func launch(path string, args []string, m hypervisor.Machine) (*vm, error) {
	s, err := openSockets(2 + len(m.Devices))
	if err != nil {
		return nil, err
	}
	defer s.closeTheirs()
	c, err := startChild(path, args, s.theirs)
	if err != nil {
		s.closeOurs()
		return nil, err
	}
	v := &vm{child: c, qmp: newQMP(s.ours[0]), log: m.Logger, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	v.parts.Go(func() { v.console(s.ours[1], m.Console) })
	for i, dev := range m.Devices {
		conn := s.ours[2+i]
		v.parts.Go(func() { v.serve(ctx, conn, dev) })
	}
	go func() {
		<-c.exited
		cancel()
		// What the child wrote last is still in the sockets. Their other ends
		// are closed, unless something else has got hold of them.
		for _, conn := range s.ours[:2] {
			conn.SetReadDeadline(time.Now().Add(time.Second))
		}
	}()
	return v, nil
}

// greet waits for QEMU to say that it is there. On error nothing of the machine
// is left.
func (v *vm) greet(ctx context.Context) error {
	version, err := v.qmp.greet(ctx)
	go v.supervise()
	if err == nil {
		v.log.Debug("qemu runs", "version", version, "pid", v.child.cmd.Process.Pid)
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		// QEMU gave up. The reason is in what it says and how it ends.
		select {
		case <-v.done:
			if v.err != nil {
				return v.err
			}
		case <-time.After(time.Second):
		}
	}
	v.Kill()
	return err
}

// supervise reads QMP until the child closes it, and ends the machine.
func (v *vm) supervise() {
	reason, err := v.qmp.shutdownReason()
	if err != nil {
		v.fail(err)
	}
	<-v.child.exited
	v.parts.Wait()
	v.qmp.conn.Close()
	v.mu.Lock()
	end := ending{status: v.child.status(), reason: reason, killed: v.killed.Load(), failure: v.failure, stderr: v.child.stderr.String()}
	v.mu.Unlock()
	v.err = end.err()
	v.log.Debug("qemu ended", "reason", reason, "error", v.err)
	close(v.done)
}

// fail ends a machine that can not go on.
func (v *vm) fail(err error) {
	v.mu.Lock()
	if v.failure == nil {
		v.failure = err
	}
	v.mu.Unlock()
	v.child.kill()
}

// hangUpTime is how long QEMU may live on once it has hung up on a device: it does
// so when it ends.
const hangUpTime = 3 * time.Second

// serve is one device's server, until QEMU is gone. A guest whose device is gone
// would wait for it for ever, so the machine ends with it.
func (v *vm) serve(ctx context.Context, conn *net.UnixConn, dev virtio.Device) {
	err := vhostuser.Serve(ctx, conn, dev, v.log)
	if err == nil {
		select {
		case <-ctx.Done():
		case <-time.After(hangUpTime):
			err = errors.New("qemu has hung up on it")
		}
	}
	if err != nil && ctx.Err() == nil {
		v.fail(fmt.Errorf("virtio %s device: %w", dev.Type(), err))
	}
}

// console hands the serial port's bytes to w. They are read even when w does not
// take them: a serial port that nobody reads stalls the guest.
func (v *vm) console(conn *net.UnixConn, w io.Writer) {
	defer conn.Close()
	if w != nil {
		_, err := io.Copy(w, conn)
		if err == nil {
			return
		}
		v.log.Warn("console output is lost from here on", "error", err)
	}
	_, _ = io.Copy(io.Discard, conn)
}

// Done implements hypervisor.VM.
func (v *vm) Done() <-chan struct{} { return v.done }

// Err implements hypervisor.VM.
func (v *vm) Err() error {
	select {
	case <-v.done:
		return v.err
	default:
		return nil
	}
}

// Kill implements hypervisor.VM.
func (v *vm) Kill() {
	v.killed.Store(true)
	v.child.kill()
	<-v.done
}

// Pause implements hypervisor.VM. QEMU stops the rings of our devices, too.
func (v *vm) Pause(ctx context.Context) error { return v.qmp.execute(ctx, "stop") }

// Resume implements hypervisor.VM.
func (v *vm) Resume(ctx context.Context) error { return v.qmp.execute(ctx, "cont") }

// CPUTime implements hypervisor.VM.
func (v *vm) CPUTime() time.Duration { return v.child.cpuTime() }
