// Package agent is the guest's pid 1. It loads the modules that the guest
// needs, asks the host over vsock what to do, mounts the root and the shared
// directories, becomes the root of the guest's file system, sets up the network,
// runs the main program, serves the host's operations, reaps every process, and
// powers off in the end.
//
// One boot, in order: Main, boot (console.go, modules.go, vsock.go), prepare
// (root.go, disk.go, sysmounts.go, etc.go, identity.go, network.go), runMain
// (mainprogram.go, stream.go, connect.go, settle.go), powerOff (power.go,
// powerbutton.go). The operations that the host starts meanwhile are in serve.go and what
// it calls: a machine is saved while freeze.go and hold.go hold all programs, and a clone
// of it becomes another guest in renew.go. What is sent is specified in
// docs/agent-protocol.md and written in internal/agentproto.
//
// Time counts here: under software emulation every package that is linked in
// costs part of a millisecond before main, so this one imports little, and no
// package net.
package agent

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agent/program"
	"github.com/holtvm/holt/internal/agentproto"
)

// Main is the program holt-agent. In a guest it does not return; elsewhere it
// returns the exit status.
func Main() int {
	if len(os.Args) > 0 && os.Args[0] == program.ShimArg0 {
		program.RunShim(os.Args)
		return 127
	}
	if os.Getpid() != 1 {
		complain("this is the first process of a Holt guest and cannot be run elsewhere")
		return 1
	}
	a := newAgent(program.NewReaper())
	a.guard(a.live)()
	powerOff()
	return 1
}

// agent is the state of pid 1.
type agent struct {
	started time.Duration // since the guest's boot
	modules []module
	reaper  *program.Reaper
	main    *mainProgram
	// sessions are the programs that the host started since.
	sessions   sessions
	operations atomic.Int32 // how many run that may take long
	// stopping is set when the guest is going down: nothing new is started.
	stopping atomic.Bool
	freezing atomic.Bool // OpFreeze is being served
	newHold  func() (*hold, error)

	renewing sync.Mutex // held while the guest is renewed
	hostname string     // as the host said, if it did
	network  *agentproto.Network
	shelf    shelf
}

func newAgent(reaper *program.Reaper) *agent {
	return &agent{started: uptime(), reaper: reaper, main: newMainProgram(), newHold: newHold}
}

// complain writes a line to the console. In normal operation there is none.
func complain(format string, args ...any) {
	openConsole()
	fmt.Fprintf(os.Stderr, "holt-agent: "+format+"\n", args...)
}

// guard returns f such that a panic in it is reported and powers off: without
// its pid 1 the kernel would panic and say much less.
func (a *agent) guard(f func()) func() {
	return func() {
		defer func() {
			if r := recover(); r != nil {
				complain("internal error: %v\n%s", r, debug.Stack())
				powerOff()
			}
		}()
		f()
	}
}

// live is the guest's life from the first instruction to the main program's
// end.
func (a *agent) live() {
	// Ctrl-Alt-Del is to be a signal, and files to have the usual modes.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		complain("take over ctrl-alt-del: %v", err)
	}
	unix.Umask(0o022)
	go a.guard(a.reaper.Run)()
	a.watchSignals()

	ch, spec, err := a.boot()
	if err != nil {
		complain("%v", err)
		if ch != nil {
			ch.fail(err)
			ch.linger(lingerTimeout)
		}
		return
	}
	if err := a.runMain(ch, spec); err != nil {
		complain("%v", err)
	}
}

// boot loads the core modules, dials the host and returns what it wants. The
// channel is returned with an error too once there is one.
func (a *agent) boot() (*channel, agentproto.BootSpec, error) {
	var spec agentproto.BootSpec
	var err error
	if a.modules, err = readManifest("/"); err != nil {
		return nil, spec, err
	}
	for _, group := range []string{groupCore, groupMMIO, groupConsole, groupBalloon} {
		if err := loadModules("/", a.modules, group); err != nil {
			return nil, spec, err
		}
	}
	openConsole()
	conn, err := dialHost(agentproto.BootPort)
	if err != nil {
		return nil, spec, err
	}
	ch := newChannel(conn)
	if err := ch.out.Hello(a.hello()); err != nil {
		return ch, spec, fmt.Errorf("greet the host: %w", err)
	}
	b, err := ch.specification()
	if err != nil {
		return ch, spec, fmt.Errorf("receive the boot specification: %w", err)
	}
	if spec, err = agentproto.DecodeBootSpec(b); err != nil {
		return ch, spec, err
	}
	if err := setClock(spec.ClockNS, bootClock); err != nil { // at once: it ages
		return ch, spec, err
	}
	return ch, spec, a.prepare(spec)
}

func (a *agent) hello() agentproto.Hello {
	h := agentproto.Hello{PID: os.Getpid(), StartUS: a.started.Microseconds(), DialUS: uptime().Microseconds()}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		h.Kernel, h.Machine = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	}
	return h
}

// prepare makes the guest what spec says, up to the main program.
func (a *agent) prepare(spec agentproto.BootSpec) error {
	if spec.Nested {
		if err := awaitTSC("/sys"); err != nil {
			return err
		}
		if err := loadKVM("/", a.modules); err != nil {
			return err
		}
	}
	// The initramfs has the modules of devices that this machine has.
	groups := []string{groupBlock}
	if spec.Network != nil {
		groups = append(groups, groupNet)
	}
	for _, group := range groups {
		if err := loadModules("/", a.modules, group); err != nil {
			return err
		}
	}
	a.hostname, a.network = spec.Hostname, spec.Network
	if err := a.makeRoot(spec); err != nil {
		return err
	}
	if spec.Nested {
		if err := checkKVM("/dev/kvm"); err != nil {
			return err
		}
	}
	if err := setIdentity(spec.Hostname); err != nil {
		return err
	}
	if err := linkDisks("/sys", "/dev"); err != nil {
		complain("name disks: %v", err)
	}
	if spec.Network != nil {
		if err := setUpNetwork(*spec.Network, "/proc/sys/net"); err != nil {
			return fmt.Errorf("set up the network: %w", err)
		}
	}
	if err := program.SetDefaultLimits(); err != nil {
		return err
	}
	// Before the program runs, so that the host may use it from "started" on.
	return a.serve()
}

// uptime is the time since the guest's boot.
func uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
