package holt

import (
	"context"
	"fmt"
	"slices"
)

// waiter is a call of Acquire that waits. It is sent one offer, and does not keep the
// sender waiting.
type waiter chan offer

// offer is a VM for one call of Acquire, or why there is none.
type offer struct {
	*pooled
	fresh bool // it was just found healthy
	err   error
}

// Acquire hands out a VM, which is the caller's alone until [Pool.Release]: an idle one
// or, if there is none, the next that is ready. Calls that wait are served in the order
// in which they came. When no VM can be started, the error is that of a start that
// failed meanwhile. When ctx ends first, Acquire returns its cause and the pool has lost
// nothing. ErrPoolClosed says that the pool was closed.
//
// The VM runs. Programs are run in it with [VM.Command].
func (p *Pool) Acquire(ctx context.Context) (*VM, error) {
	hit, again := true, false
	for {
		o, waited, err := p.take(ctx, again)
		if err != nil {
			return nil, err
		}
		hit = hit && !waited
		if p.config.HealthCheck != nil && !o.fresh {
			if err := p.examine(ctx, o.vm); ctx.Err() != nil {
				p.giveBack(o.pooled)
				return nil, context.Cause(ctx)
			} else if err != nil {
				p.reject(o.pooled)
				again = true
				continue
			}
		}
		return p.hand(o.pooled, hit)
	}
}

// take takes a VM from the idle ones, or waits for one: at the end of the queue or, if
// it was served before, at its head. What it returns counts as offered.
func (p *Pool) take(ctx context.Context, again bool) (o offer, waited bool, err error) {
	if ctx.Err() != nil {
		return o, false, context.Cause(ctx)
	}
	w, o, err := p.idleOrQueue(again)
	if w == nil {
		return o, false, err
	}
	select {
	case o = <-w:
		return o, true, o.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.waiters, w)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 { // the offer came this moment
		if o = <-w; o.err == nil {
			p.giveBack(o.pooled)
		}
	}
	return offer{}, true, context.Cause(ctx)
}

// idleOrQueue returns the idle VM that was idle for the shortest time, or the place of a
// call that waits for one.
func (p *Pool) idleOrQueue(again bool) (w waiter, o offer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.fill()
	if p.closed {
		return nil, o, ErrPoolClosed
	}
	for i, m := range slices.Backward(p.idle) {
		if !m.ended() { // else it is about to be replaced
			p.offered++
			return nil, offer{pooled: p.unidle(i)}, nil
		}
	}
	at := len(p.waiters)
	if again {
		at = 0
	}
	w = make(waiter, 1)
	p.waiters = slices.Insert(p.waiters, at, w)
	return w, o, nil
}

// settle says that an offer was taken up or not. The pool is locked.
func (p *Pool) settle() {
	p.offered--
	p.quiet.Broadcast()
}

// hand makes an offered VM the caller's.
func (p *Pool) hand(m *pooled, hit bool) (*VM, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	if p.closed {
		p.destroy(m)
		return nil, ErrPoolClosed
	}
	p.used[m.vm] = m
	p.delay = 0
	if hit {
		p.count.Hits++
	} else {
		p.count.Misses++
	}
	return m.vm, nil
}

// giveBack offers a VM to others.
func (p *Pool) giveBack(m *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	p.put(m, false)
}

// reject destroys an offered VM that is not healthy.
func (p *Pool) reject(m *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	p.count.Unhealthy++
	p.destroy(m)
}

// Release gives back a VM that Acquire handed out, once. It is destroyed in the
// background, and another takes its place, unless Reuse is set. A VM that the pool has
// not handed out is an error.
func (p *Pool) Release(vm *VM) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.used[vm]
	if m == nil {
		return fmt.Errorf("release VM %s: the pool has not handed it out, or it was released before", vm.Name())
	}
	delete(p.used, vm)
	p.count.Released++
	if p.config.Reuse {
		p.put(m, false)
	} else {
		p.destroy(m)
	}
	return nil
}
