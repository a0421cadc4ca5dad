package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
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
	devices := served(m.Devices)
	s, err := openSockets(devices)
	if err != nil {
		return nil, err
	}
	defer s.closeTheirs()
	console, theirs, err := openConsole()
	if err != nil {
		s.closeOurs()
		return nil, err
	}
	defer theirs.Close()
	c, err := startChild(path, args, slices.Insert(slices.Clone(s.theirs), consoleFD-qmpFD, theirs))
	if err != nil {
		s.closeOurs()
		console.Close()
		return nil, err
	}
	v := &vm{child: c, qmp: newQMP(s.ours[0]), log: m.Logger, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	v.parts.Go(func() { v.console(console, m.Console) })
	for i, dev := range devices {
		conn, listener := s.ours[1+i], s.listeners[1+i]
		v.parts.Go(func() { v.serve(ctx, conn, listener, dev) })
	}
	go func() {
		<-c.exited
		cancel()
		// What the child wrote last is still there to be read. The other ends are
		// closed, unless something else has got hold of them.
		end := time.Now().Add(time.Second)
		s.ours[0].SetReadDeadline(end)
		_ = console.SetReadDeadline(end)
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

// serve is one device's server, until QEMU is gone; with a listener it waits for the
// connection first. A guest whose device is gone would wait for it for ever, so the
// machine ends with it.
func (v *vm) serve(ctx context.Context, conn *net.UnixConn, listener *net.UnixListener, dev virtio.Device) {
	var err error
	if listener != nil {
		conn, err = accept(ctx, listener)
	}
	if err == nil {
		err = vhostuser.Serve(ctx, conn, dev, v.log)
	}
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
func (v *vm) Pause(ctx context.Context) error { return v.qmp.execute(ctx, "stop", nil) }

// Resume implements hypervisor.VM.
func (v *vm) Resume(ctx context.Context) error { return v.qmp.execute(ctx, "cont", nil) }

// Hold implements hypervisor.VM. It stops all of QEMU: what else there is beside
// the vCPUs' threads works for them.
func (v *vm) Hold(held bool) { v.child.stop(held) }

// CPUTime implements hypervisor.VM. While the child runs, what its threads used
// since the host's last timer tick may be missing; it is exact once they are held.
func (v *vm) CPUTime() time.Duration { return v.child.cpuTime() }

// pressTime is how long QEMU may take to press the power button: its main loop may
// have to wait for an emulated vCPU.
const pressTime = 5 * time.Second

// PowerButton implements hypervisor.VM.
func (v *vm) PowerButton() error {
	ctx, cancel := context.WithTimeout(context.Background(), pressTime)
	defer cancel()
	return v.qmp.execute(ctx, "system_powerdown", nil)
}

// Stats implements hypervisor.VM. QEMU's emulation knows no exits.
func (v *vm) Stats() hypervisor.Stats {
	select {
	case <-v.child.exited:
		return hypervisor.Stats{}
	default:
		return hypervisor.Stats{Processes: []int{v.child.cmd.Process.Pid}}
	}
}
