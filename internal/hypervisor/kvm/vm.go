package kvm

import (
	"fmt"
	"sync"
	"time"

	"github.com/holtvm/holt/internal/hypervisor"
)

// vm is a machine that runs.
type vm struct {
	m       *machine
	threads sync.WaitGroup
	done    chan struct{}
	err     error // set before done is closed

	pausing sync.Mutex // pauses, resumes, holds and the end take turns
	paused  bool
	over    bool
}

var _ hypervisor.VM = (*vm)(nil)

// start lets the vCPUs run.
func start(m *machine) *vm {
	v := &vm{m: m, done: make(chan struct{})}
	for _, c := range m.vcpus {
		v.threads.Go(func() { m.run(c) })
	}
	go v.supervise()
	return v
}

// supervise waits for the machine's end and takes it apart.
func (v *vm) supervise() {
	end := <-v.m.ended
	v.m.gate.finish()
	v.m.kick()
	v.threads.Wait()
	v.pausing.Lock() // a pause under way ends by itself: the gate is finished
	v.over = true
	v.pausing.Unlock()
	v.m.logExits()
	v.m.close()
	v.err = end.error()
	v.m.log.Debug("the machine ended", "reason", end, "error", v.err)
	close(v.done)
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
	v.m.end(ending{kind: killed})
	<-v.done
}

// PowerButton implements hypervisor.VM.
func (v *vm) PowerButton() error {
	v.pausing.Lock() // a machine that has ended has no interrupts
	defer v.pausing.Unlock()
	if v.over {
		return fmt.Errorf("press the power button: %w", errEnded)
	}
	v.m.button.raise()
	return nil
}

// Stats implements hypervisor.VM.
func (v *vm) Stats() hypervisor.Stats {
	s := hypervisor.Stats{Exits: map[string]uint64{}}
	for _, c := range v.m.vcpus {
		c.exits.addTo(s.Exits)
	}
	if counters, err := v.m.counters(); err == nil { // else it has ended
		s.KernelExits, s.KernelExitsByKind = counters["exits"], exitKinds(counters)
	}
	return s
}

// CPUTime implements hypervisor.VM. What the devices do for the guest is not
// counted: they are not what makes progress.
func (v *vm) CPUTime() time.Duration {
	var t time.Duration
	for _, c := range v.m.vcpus {
		t += c.used()
	}
	return t
}
