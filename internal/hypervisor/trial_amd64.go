package hypervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/kvmapi"
)

// try runs the trial program and returns nil when all of it ran, a *stuckError
// when KVM gave up in the middle, and another error when the trial itself could
// not be made or ctx ended first.
func try(ctx context.Context, dev *kvmapi.Device) error {
	return trySteps(ctx, dev, trialSteps)
}

func trySteps(ctx context.Context, dev *kvmapi.Device, steps []step) error {
	mem, err := unix.Mmap(-1, 0, trialMemory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("map trial memory: %w", err)
	}
	t := trial{mem: mem, steps: steps}
	vm, vcpu, err := t.machine(dev)
	if err != nil {
		unix.Munmap(mem)
		return err
	}
	release := func() {
		vcpu.Close()
		vm.Close()
		unix.Munmap(mem)
	}

	thread := make(chan int, 1)
	result := make(chan error, 1)
	go func() {
		// A locked thread, so that it can be signalled by its id. It ends with
		// the goroutine: nobody else gets to see a stray signal.
		runtime.LockOSThread()
		thread <- unix.Gettid()
		result <- t.run(ctx, vcpu)
	}()
	tid := <-thread
	select {
	case err := <-result:
		release()
		return err
	case <-ctx.Done():
	}
	// The flag ends a run that has not entered the guest yet, the signal one
	// that has. SIGURG is what Go's runtime itself uses to interrupt threads.
	vcpu.SetImmediateExit(true)
	for range 10 {
		_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // the thread may just have ended
		select {
		case err := <-result:
			release()
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
	// Nothing may be unmapped under a kernel that is still using it. This
	// leaks one thread of a process that meets a broken KVM.
	return errors.New("the trial machine cannot be interrupted")
}

// run runs the program to its end. Its thread must be locked.
func (t trial) run(ctx context.Context, vcpu *kvmapi.VCPU) error {
	for {
		err := vcpu.Run()
		switch {
		case errors.Is(err, unix.EINTR):
			if ctx.Err() != nil {
				return fmt.Errorf("stopped at %s: %w", t.step(), ctx.Err())
			}
			continue
		case err != nil:
			return &stuckError{t.step(), "running it: " + err.Error()}
		}
		switch reason := vcpu.ExitReason(); reason {
		case kvmapi.ExitIO:
			if vcpu.IOPort() == trialPort {
				return nil
			}
			return &stuckError{t.step(), fmt.Sprintf("access to port %#x", vcpu.IOPort())}
		case kvmapi.ExitInternalError:
			return &stuckError{t.step(), fmt.Sprintf("KVM internal error %d", vcpu.InternalSuberror())}
		case kvmapi.ExitShutdown:
			return &stuckError{t.step(), "triple fault"}
		default:
			return &stuckError{t.step(), fmt.Sprintf("exit reason %d", reason)}
		}
	}
}

// machine makes a machine with one vCPU that stands, in long mode, at the start
// of the program.
func (t trial) machine(dev *kvmapi.Device) (_ *kvmapi.VM, _ *kvmapi.VCPU, err error) {
	v, err := dev.APIVersion()
	if err != nil {
		return nil, nil, fmt.Errorf("get kvm api version: %w", err)
	}
	if v != kvmapi.APIVersion {
		return nil, nil, fmt.Errorf("kvm api version is %d, want %d", v, kvmapi.APIVersion)
	}
	cpuid, err := dev.SupportedCPUID()
	if err != nil {
		return nil, nil, err
	}
	vm, err := dev.CreateVM()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			vm.Close()
		}
	}()
	if err := vm.SetMemory(0, 0, t.mem); err != nil {
		return nil, nil, err
	}
	vcpu, err := vm.CreateVCPU(0)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			vcpu.Close()
		}
	}()
	if err := vcpu.SetCPUID(cpuid); err != nil {
		return nil, nil, err
	}
	cpu := trialFeatures(cpuid)
	t.lay(cpu)
	sregs, err := vcpu.Sregs()
	if err != nil {
		return nil, nil, err
	}
	if err := vcpu.SetSregs(trialSregs(sregs, cpu)); err != nil {
		return nil, nil, err
	}
	return vm, vcpu, vcpu.SetRegs(trialRegs())
}
