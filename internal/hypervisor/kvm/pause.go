package kvm

import (
	"context"
	"errors"
	"fmt"
)

// errEnded says that a machine that has ended cannot be paused or resumed.
var errEnded = errors.New("the machine has ended")

// Pause implements hypervisor.VM: no vCPU runs and no device touches guest memory
// once it returns. It waits for what devices do for the guest on the host; ctx
// bounds the wait for a vCPU that does so itself. Pausing a paused machine changes
// nothing.
func (v *vm) Pause(ctx context.Context) error {
	v.pausing.Lock()
	defer v.pausing.Unlock()
	switch {
	case v.over:
		return fmt.Errorf("pause: %w", errEnded)
	case v.paused:
		return nil
	}
	v.m.gate.set(pause, true)
	v.m.kick()
	if !v.m.gate.awaitAll(ctx) {
		v.m.gate.set(pause, false)
		if ctx.Err() != nil {
			return fmt.Errorf("pause: %w", context.Cause(ctx))
		}
		return fmt.Errorf("pause: %w", errEnded)
	}
	for _, d := range v.m.devices {
		d.transport.Pause()
	}
	v.paused = true
	return nil
}

// Resume implements hypervisor.VM. The guest's clocks have gone on meanwhile;
// its watchdogs are told that it was stopped.
func (v *vm) Resume(context.Context) error {
	v.pausing.Lock()
	defer v.pausing.Unlock()
	switch {
	case v.over:
		return fmt.Errorf("resume: %w", errEnded)
	case !v.paused:
		return nil
	}
	v.m.tellStopped()
	for _, d := range v.m.devices {
		d.transport.Resume()
	}
	v.paused = false
	v.m.gate.set(pause, false)
	return nil
}

// Hold implements hypervisor.VM. vCPUs that the guest has halted are held, too:
// the next interrupt would wake them.
func (v *vm) Hold(held bool) {
	v.pausing.Lock() // a machine that has ended has no vCPUs to kick
	defer v.pausing.Unlock()
	if v.over {
		return
	}
	v.m.gate.set(hold, held)
	if held {
		v.m.kick()
	}
}
