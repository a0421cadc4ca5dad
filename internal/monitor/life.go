package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/limits"
	"github.com/holtvm/holt/internal/state"
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
	budget  time.Duration // of processor time for each vCPU until the agent is up
	quota   time.Duration // of processor time in each limits.Period; 0 for all that the vCPUs can use
	console *console
	program *program
	dial    func(ctx context.Context, port uint32) (net.Conn, error)
	stops   <-chan time.Duration // requests to end the guest, each with its grace
	began   func()               // called when the main program runs
	serving func() bool          // the host reads or writes files for the guest
	log     *slog.Logger
}

// live meets the agent and carries the main program's streams. ctx ends when somebody
// kills the VM; whatever else ends the VM early cancels a context below it with the
// reason. meet returns a connection of the agent's, and what it has sent there so far.
func (l *life) live(ctx context.Context, meet func(context.Context) (net.Conn, *agentproto.Reader, error)) (last agentproto.Frame, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)

	up := make(chan struct{}) // closed when the agent has its instructions
	go l.watch(ctx, up, end)
	go l.awaitStops(ctx, up, end)

	conn, in, err := meet(ctx)
	if err != nil {
		return last, l.explain("before its program started", cause(ctx, err))
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() {
		conn.Close()
		l.program.hurry()
	})()
	close(up)
	l.program.take(agentclient.NewWriter(conn))
	last, err = l.program.carry(in, l.began)
	if err != nil {
		return last, l.explain("before its program did", cause(ctx, err))
	}
	// The frame's payload belongs to the reader: it stays valid because nothing
	// is read any more. Closing tells the agent that everything arrived.
	conn.Close()
	l.awaitPowerOff(ctx)
	return last, nil
}

// boot waits for the agent of a guest that boots, and gives it its instructions.
func (l *life) boot(ctx context.Context, listener net.Listener, spec agentproto.BootSpec) (net.Conn, *agentproto.Reader, error) {
	conn, err := l.accept(ctx, listener)
	if err != nil {
		return nil, nil, err
	}
	hello, in, err := agentclient.Handshake(ctx, conn, spec)
	if err == nil {
		l.log.Debug("the agent is up", "kernel", hello.Kernel, "start_us", hello.StartUS, "dial_us", hello.DialUS)
		if spec.Hold {
			err = agentclient.AwaitHeld(ctx, in)
		}
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	if spec.Hold {
		conn.Close()
		return heldProgram()
	}
	return conn, in, nil
}

// accept waits for the agent's call. There is one: further connections of the
// guest are refused.
func (l *life) accept(ctx context.Context, listener net.Listener) (net.Conn, error) {
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	conn, err := listener.Accept()
	_ = listener.Close()
	return conn, err
}

// waited is how long the VM's threads, this process's among them, could have run and the
// host did not let them.
func (l *life) waited() time.Duration {
	sum := runDelay("self")
	for _, pid := range l.vm.Stats().Processes {
		sum += runDelay(strconv.Itoa(pid))
	}
	return sum
}

// watch ends the VM's context when the machine ends, or when its boot gets
// nowhere.
func (l *life) watch(ctx context.Context, up <-chan struct{}, end context.CancelCauseFunc) {
	booting, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		dog := watchdog{time.Duration(l.vcpus) * l.budget, l.quota, l.vm.CPUTime, l.waited, l.serving}
		if err := dog.watch(booting); err != nil {
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

// awaitStops ends the guest when asked to. Who is impatient may ask again, with less
// grace.
func (l *life) awaitStops(ctx context.Context, up <-chan struct{}, end context.CancelCauseFunc) {
	for {
		select {
		case grace := <-l.stops:
			go l.stop(ctx, grace, up, end)
		case <-ctx.Done():
			return
		}
	}
}

// stop asks the guest to end its programs and power off; the main program's status is
// reported as ever. An agent that does not hear has its power button pressed. A guest
// that is not up yet, or not gone in time, is killed.
func (l *life) stop(ctx context.Context, grace time.Duration, up <-chan struct{}, end context.CancelCauseFunc) {
	select {
	case <-up:
	default:
		end(errStoppedEarly)
		return
	}
	// A paused guest could not even be asked. This waits for one that is being saved.
	_ = l.vm.Resume(ctx)
	ctx, cancel := context.WithTimeout(ctx, grace+l.powerOffTime())
	defer cancel()
	if err := l.askToStop(ctx, grace); err != nil {
		l.log.Warn("the guest's agent does not stop the guest; pressing its power button", "error", err)
		if err := l.vm.PowerButton(); err != nil {
			end(fmt.Errorf("stop the guest: %w", err))
			return
		}
	}
	<-ctx.Done()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		end(errors.New("the guest did not stop when asked to"))
		l.console.abandon() // whoever does not read it may be why
	}
}

// askTime is how long an agent may take to agree to a stop. It always listens.
const askTime = 5 * time.Second

func (l *life) askToStop(ctx context.Context, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	conn, err := l.dial(ctx, agentproto.ServicePort)
	if err != nil {
		return err
	}
	return agentclient.Shutdown(ctx, conn, grace)
}

// awaitPowerOff gives the guest time to write everything back and power off.
func (l *life) awaitPowerOff(ctx context.Context) {
	select {
	case <-l.vm.Done():
	case <-time.After(l.powerOffTime()):
		l.log.Warn("the guest did not power off; killed", "after", l.powerOffTime())
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

var (
	errEnded        = errors.New("ended")
	errStoppedEarly = errors.New("stopped before it was up")
)

// deathError is why a VM ended without its main program's doing.
type deathError struct {
	err     error
	console string // the end of the guest's console, a line each
}

// Error implements error.
func (e *deathError) Error() string { return state.DeathText(e.err.Error(), e.console) }

// Unwrap gives what errors.Is and errors.As look at.
func (e *deathError) Unwrap() error { return e.err }

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
	return &deathError{err, l.console.lastLines("  | ")}
}
