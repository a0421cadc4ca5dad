package monitor

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/hypervisor/kvm"
	"github.com/holtvm/holt/internal/hypervisor/qemu"
	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/paths"
)

// Env is what a monitor needs of its surroundings.
type Env struct {
	Dirs  paths.Dirs
	Agent kernel.Program // the guest agent
	Log   *slog.Logger
	// Control is the control socket, which Run closes.
	Control net.Listener
}

// Refuse reports an error to a client whose VM could not even be tried.
func Refuse(client net.Conn, err error) {
	// The client may be gone; then nobody wants to know.
	_ = agentproto.NewWriter(client).Error(&agentproto.Error{Kind: agentproto.KindInternal, Message: err.Error()})
	_ = client.Close()
}

// Run runs a VM to its end. Everything that happens is reported to client, in
// the agent's frames: started, output, and at last an exit or an error. When
// ctx is done the guest is asked to stop and then killed; when client goes
// away it is killed at once. Run returns when nothing of the VM is left; it
// closes client.
func Run(ctx context.Context, spec Spec, client net.Conn, env Env) {
	defer env.Control.Close()
	last, err := run(ctx, spec, client, env)
	if err != nil {
		env.Log.Debug("the VM failed", "error", err)
		Refuse(client, err)
		return
	}
	defer client.Close()
	_ = agentproto.NewWriter(client).Frame(last.Type, last.Payload)
}

// run returns the agent's last frame, or why there is none.
func run(stop context.Context, spec Spec, client net.Conn, env Env) (last agentproto.Frame, err error) {
	begin := time.Now()
	con, err := newConsole(spec.ConsoleOutput, env.Log)
	if err != nil {
		return last, err
	}
	defer con.Close()
	served, agent, done := follow(stop, client, con)
	defer done()
	ctx, cancel := context.WithCancelCause(served) // for what comes before there is a guest to stop
	defer context.AfterFunc(stop, func() { cancel(context.Cause(stop)) })()
	backend, err := hypervisor.Select(ctx, spec.Backend, hypervisor.Options{
		KVM:      kvm.New,
		QEMU:     qemu.New,
		CacheDir: env.Dirs.Cache,
		Logger:   env.Log,
	})
	if err != nil {
		return last, err
	}
	chosen := time.Now()
	asm, err := assemble(ctx, spec, env, con, backend.Name())
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
	defer limitCPU(spec, vm, env.Log)()
	defer serveControl(env.Control, vm, env.Log)()

	l := &life{vm: vm, vcpus: spec.VCPUs, quota: spec.cpuQuota(), console: con, agent: agent, dial: asm.vsock.Dial}
	return l.live(served, stop, client, listener, asm.boot, env.Log)
}

// follow passes on what the client sends to the agent, whose connection the channel
// takes, until done is called. The context that it returns ends when the client goes
// away, and not when stop does.
func follow(stop context.Context, client net.Conn, con *console) (_ context.Context, agent chan net.Conn, done func()) {
	ctx, end := context.WithCancelCause(context.WithoutCancel(stop))
	agent = make(chan net.Conn, 1)
	go func() {
		end(fromClient(agentproto.NewReader(client, agentproto.Host), agent))
		con.abandon()
	}()
	return ctx, agent, func() {
		close(agent)
		end(nil)
	}
}
