package holt

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// fakeMachines are VMs without guests: pointers that are told apart.
type fakeMachines struct {
	t         *testing.T
	startTime time.Duration
	endTime   time.Duration
	fails     func(n int) error                       // why the nth start fails, from 1 on
	pings     func(ctx context.Context, vm *VM) error // nil: all is well

	mu     sync.Mutex
	starts []time.Time // when they began
	all    []*VM
	live   map[*VM]chan struct{} // those that were not destroyed; closed when the VM has ended
	most   int                   // that lived at once
	closed bool
}

func newFakeMachines(t *testing.T) *fakeMachines {
	return &fakeMachines{t: t, startTime: 20 * time.Millisecond, endTime: 10 * time.Millisecond, live: map[*VM]chan struct{}{}}
}

func (f *fakeMachines) start(ctx context.Context) (*VM, error) {
	f.mu.Lock()
	f.starts = append(f.starts, time.Now())
	n := len(f.starts)
	if f.closed {
		f.t.Error("a VM is started after the pool's end")
	}
	f.mu.Unlock()
	select {
	case <-time.After(f.startTime):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if f.fails != nil {
		if err := f.fails(n); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	vm := &VM{}
	f.all = append(f.all, vm)
	f.live[vm] = make(chan struct{})
	f.most = max(f.most, len(f.live))
	return vm, nil
}

func (f *fakeMachines) ping(ctx context.Context, vm *VM) error {
	if f.pings == nil {
		return nil
	}
	return f.pings(ctx, vm)
}

func (f *fakeMachines) wait(vm *VM) error {
	<-f.ended(vm)
	return errors.New("its program ended")
}

func (f *fakeMachines) ended(vm *VM) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.live[vm]
}

// die ends a VM as its program would.
func (f *fakeMachines) die(vm *VM) {
	ended := f.ended(vm)
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-ended:
	default:
		close(ended)
	}
}

func (f *fakeMachines) end(vm *VM) {
	f.die(vm)
	time.Sleep(f.endTime)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.live[vm] == nil {
		f.t.Error("a VM is destroyed twice")
	}
	delete(f.live, vm)
}

func (f *fakeMachines) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// count is how many VMs were not destroyed.
func (f *fakeMachines) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.live)
}

// pool is a pool of such VMs, for over in the end.
func (f *fakeMachines) pool(c PoolConfig) *Pool {
	f.t.Helper()
	c.From = PoolSnapshot("none")
	c, err := c.complete()
	if err != nil {
		f.t.Fatal(err)
	}
	return newPool(c, f)
}

// addsUp checks what PoolStats promises.
func (s PoolStats) addsUp(t *testing.T) {
	t.Helper()
	if s.Hits+s.Misses != uint64(s.InUse)+s.Released || s.Created != uint64(s.Idle+s.InUse+s.Ending)+s.Destroyed ||
		s.Idle+s.InUse+s.Ending+s.Starting > s.Max || s.Evicted+s.Unhealthy > uint64(s.Ending)+s.Destroyed ||
		min(s.Idle, s.InUse, s.Starting, s.Ending, s.Waiting) < 0 {
		t.Errorf("it does not add up: %+v", s)
	}
}

// over closes a pool whose VMs were all released, and checks that nothing is left.
func (f *fakeMachines) over(p *Pool) PoolStats {
	f.t.Helper()
	if err := p.Close(); err != nil {
		f.t.Error(err)
	}
	s := p.Stats()
	s.addsUp(f.t)
	if n := f.count(); n > 0 || !f.closed || s.Idle+s.InUse+s.Starting+s.Ending+s.Waiting > 0 || f.most > s.Max {
		f.t.Errorf("after the end there are %d VMs, there were %d at once, and %+v", n, f.most, s)
	}
	return s
}
