package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/limits"
)

const (
	// stopGrace is what programs get between SIGTERM and SIGKILL when the VM
	// is asked to stop, and powerOffTime what the guest gets to go down after
	// its program ended. Both are real time.
	stopGrace    = 10 * time.Second
	powerOffTime = 15 * time.Second
	// slowPowerOffTime is the most that a guest gets that may use but a part of the
	// processors' time.
	slowPowerOffTime = time.Minute
)

// life is a VM from its start to its end.
type life struct {
	vm      hypervisor.VM
	vcpus   int
	quota   time.Duration // of processor time in each limits.Period; 0 for all that the vCPUs can use
	console *console
	agent   chan<- net.Conn // takes the agent's connection, once there is one
	dial    func(ctx context.Context, port uint32) (net.Conn, error)
}

// live waits for the agent, gives it its instructions, and relays. ctx ends when the
// client goes away; whatever else ends the VM early cancels a context below it with
// the reason.
func (l *life) live(ctx, stop context.Context, client io.Writer, listener net.Listener, boot agentproto.BootSpec, log *slog.Logger) (last agentproto.Frame, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)

	up := make(chan struct{}) // closed when the agent has its instructions
	go l.watch(ctx, up, end)
	defer context.AfterFunc(stop, func() { l.stop(ctx, up, end) })()

	conn, err := l.accept(ctx, listener)
	if err != nil {
		return last, l.explain("before its program started", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	hello, in, err := agentclient.Handshake(ctx, conn, boot)
	if err != nil {
		return last, l.explain("before its program started", cause(ctx, err))
	}
	log.Debug("the agent is up", "kernel", hello.Kernel, "start_us", hello.StartUS, "dial_us", hello.DialUS)
	close(up)
	l.agent <- conn
	last, err = relay{client: client, console: l.console}.fromAgent(in)
	if err != nil {
		return last, l.explain("before its program did", cause(ctx, err))
	}
	// The frame's payload belongs to the reader: it stays valid because nothing
	// is read any more. Closing tells the agent that everything arrived.
	conn.Close()
	l.awaitPowerOff(ctx, log)
	return last, nil
}

// accept waits for the agent's call. There is one: further connections of the
// guest are refused.
func (l *life) accept(ctx context.Context, listener net.Listener) (net.Conn, error) {
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	conn, err := listener.Accept()
	_ = listener.Close()
	if err != nil {
		return nil, cause(ctx, err)
	}
	return conn, nil
}

// watch ends the VM's context when the machine ends, or when its boot gets
// nowhere.
func (l *life) watch(ctx context.Context, up <-chan struct{}, end context.CancelCauseFunc) {
	booting, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		if err := watchBoot(booting, l.vcpus, l.quota, l.vm.CPUTime); err != nil {
			end(err)
		}
	}()
	select {
	case <-up:
		stop()
	case <-l.vm.Done():
	case <-ctx.Done():
	}
	select {
	case <-l.vm.Done():
		end(errEnded)
	case <-ctx.Done():
	}
}

// stop asks the guest to end its programs and power off; the main program's
// status is reported as ever. A guest that is not up yet is killed.
func (l *life) stop(ctx context.Context, up <-chan struct{}, end context.CancelCauseFunc) {
	select {
	case <-up:
	default:
		end(errors.New("stopped before it was up"))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stopGrace+l.powerOffTime())
	defer cancel()
	_ = l.vm.Resume(ctx) // a paused guest could not even be asked
	conn, err := l.dial(ctx, agentproto.ServicePort)
	if err == nil {
		err = agentclient.Shutdown(ctx, conn, stopGrace)
	}
	if err != nil {
		end(fmt.Errorf("stop the guest: %w", err))
		return
	}
	<-ctx.Done()
	end(errors.New("the guest did not stop when asked to"))
}

// awaitPowerOff gives the guest time to write everything back and power off.
func (l *life) awaitPowerOff(ctx context.Context, log *slog.Logger) {
	select {
	case <-l.vm.Done():
	case <-time.After(l.powerOffTime()):
		log.Warn("the guest did not power off; killed", "after", l.powerOffTime())
	case <-ctx.Done():
	}
}

// powerOffTime is powerOffTime, or more for a throttled guest.
func (l *life) powerOffTime() time.Duration {
	if l.quota == 0 || l.quota >= limits.Period {
		return powerOffTime
	}
	slower := float64(limits.Period) / float64(l.quota)
	return min(time.Duration(slower*float64(powerOffTime)), slowPowerOffTime)
}

var errEnded = errors.New("ended")

// cause returns why ctx ended, if it did, and err otherwise: what broke a
// connection says less than what broke the guest.
func cause(ctx context.Context, err error) error {
	// The connection breaks a moment before the machine's end is known.
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Second):
		return err
	}
}

// explain says why the guest ended too early and shows the end of its console.
func (l *life) explain(when string, err error) error {
	if _, ok := errors.AsType[*agentproto.Error](err); ok {
		return err
	}
	if errors.Is(err, errEnded) {
		if err = l.vm.Err(); err == nil {
			err = errors.New("it powered off")
		}
		err = fmt.Errorf("the guest ended %s: %w", when, err)
		if line := l.console.panicLine(); line != "" {
			err = fmt.Errorf("%w: %s", err, line)
		}
	}
	if tail := l.console.lastLines("  | "); tail != "" {
		return fmt.Errorf("%w\nthe guest console's last lines:\n%s", err, tail)
	}
	return fmt.Errorf("%w (the guest console is empty)", err)
}
