package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/hypervisor/kvm"
	"github.com/holtvm/holt/internal/hypervisor/qemu"
	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/outlog"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/state"
)

// Env is what a monitor needs of its surroundings.
type Env struct {
	Dirs  paths.Dirs
	Agent kernel.Program // the guest agent
	Log   *slog.Logger
	// Control is the control socket, which Run closes.
	Control net.Listener
	// Origin are the files of the specification's Origin, if it has one. They are
	// the caller's, and must be open until Run returns.
	Origin *OriginFiles
}

// Refuse reports an error to a client whose VM could not even be tried.
func Refuse(client net.Conn, err error) {
	// The client may be gone; then nobody wants to know.
	_ = agentproto.NewWriter(client).Error(&agentproto.Error{Kind: agentproto.KindInternal, Message: err.Error()})
	_ = client.Close()
}

// Run runs a VM to its end. Everything that happens is reported to client, in the
// agent's frames: started, output, and at last an exit or an error. When ctx is done
// the guest is asked to stop and then killed; when client goes away it is killed at
// once, unless it is kept. Run returns when nothing of the VM is left but its
// directory, whose status is final; it closes client.
func Run(ctx context.Context, spec Spec, conn net.Conn, env Env) {
	alive, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(nil)
	con, output, err := openOutput(spec, env.Log)
	defer context.AfterFunc(alive, con.abandon)()
	p := newProgram(con, output)
	i := newInstance(spec, p, kill, env)
	defer serveControl(env.Control, i, env.Log)()
	defer context.AfterFunc(ctx, func() { _ = i.stop(stopGrace) })()
	first := newClient(conn, !spec.Kept)
	_ = p.connect(first, spec.Program.Stdin) // before anything can fail, so that it hears of that
	go i.serveFirst(first)

	var last agentproto.Frame
	if err == nil {
		last, err = i.run(alive, env)
		if errors.Is(err, context.Canceled) {
			err = context.Cause(alive)
		}
		con.Close()
		if output != nil {
			_ = output.Close()
		}
	}
	i.finish(last, err)
	if err != nil {
		env.Log.Debug("the VM failed", "error", err)
		last = lastFrame(err, p.ran())
	}
	p.finish(last)
	_ = conn.Close()
}

// openOutput opens what keeps the console's and the program's output.
func openOutput(spec Spec, log *slog.Logger) (*console, *outlog.Writer, error) {
	con, err := newConsole(spec, log)
	if err != nil || !spec.Kept {
		return con, nil, err
	}
	output, err := outlog.Open(spec.Dir, state.OutputLog, outlog.DefaultLimit)
	if err != nil {
		con.Close()
		return con, nil, fmt.Errorf("keep the program's output: %w", err)
	}
	return con, output, nil
}

// serveFirst serves the client that started the VM. It is the program's input, and
// unless the VM is kept, the VM ends with it.
func (i *instance) serveFirst(c *client) {
	err := i.program.follow(c, agentproto.NewReader(c.conn, agentproto.Host))
	if c.owner {
		i.kill(err)
	}
}

// lastFrame is the end of a VM without its program's doing, as a client hears it. Only
// a program that ran has an exit.
func lastFrame(err error, ran bool) (f agentproto.Frame) {
	var b bytes.Buffer
	out := agentproto.NewWriter(&b)
	if ran && errors.Is(err, errKilled) {
		err = out.Exit(agentproto.Exit{Signal: int(unix.SIGKILL)})
	} else {
		err = out.Error(&agentproto.Error{Kind: agentproto.KindInternal, Message: err.Error()})
	}
	if err == nil {
		f, _ = agentproto.NewReader(&b, agentproto.Agent).Next() // it was just written
	}
	return f
}

// run starts the machine and returns the agent's last frame, or why there is none.
// ctx ends when somebody kills the VM.
func (i *instance) run(ctx context.Context, env Env) (last agentproto.Frame, err error) {
	begin := time.Now()
	if err := i.begin(); err != nil {
		return last, fmt.Errorf("start the VM: %w", err)
	}
	backend, err := hypervisor.Select(ctx, i.spec.Backend, hypervisor.Options{
		KVM:      kvm.New,
		QEMU:     qemu.New,
		CacheDir: env.Dirs.Cache,
		Logger:   env.Log,
	})
	if err != nil {
		return last, err
	}
	chosen := time.Now()
	asm, err := assemble(ctx, i.spec, env, i.program.console, backend.Name())
	if err != nil {
		return last, err
	}
	defer asm.Close()
	env.Log.Debug("the VM is assembled", "choose", chosen.Sub(begin), "assemble", time.Since(chosen))
	listener, err := asm.vsock.Listen(agentproto.BootPort)
	if err != nil {
		return last, err
	}
	defer listener.Close()
	vm, err := backend.Start(ctx, asm.machine)
	if err != nil {
		return last, err
	}
	defer vm.Kill()
	defer limitCPU(i.spec, vm, env.Log)()
	i.starts(ctx, backend.Name(), vm, asm, asm.vsock.Dial, newMeter(i.spec, vm, asm))

	l := &life{
		vm: vm, vcpus: i.spec.VCPUs, budget: i.spec.startBudget(), quota: i.spec.cpuQuota(), console: i.program.console, program: i.program,
		dial: asm.vsock.Dial, stops: i.stops, began: i.runs, serving: asm.serving, log: env.Log,
	}
	return l.live(ctx, func(ctx context.Context) (net.Conn, *agentproto.Reader, error) {
		if i.spec.Origin != nil {
			conn, in, err := l.renew(ctx, asm.renewal(i.spec))
			if err == nil {
				go l.checkClock(ctx)
			}
			return conn, in, err
		}
		return l.boot(ctx, listener, asm.boot)
	})
}
