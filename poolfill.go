package holt

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// After a start that failed, the next one waits for firstDelay, and twice as long each
// time, up to maxDelay. A VM that is handed out ends that.
const (
	firstDelay = 100 * time.Millisecond
	maxDelay   = 5 * time.Second
)

// Warm returns when Min VMs are idle, or a VM could not be started meanwhile. When VMs
// in use leave room for fewer than Min, it waits until some are released.
func (p *Pool) Warm(ctx context.Context) error {
	p.mu.Lock()
	if p.closed || len(p.idle) >= p.config.Min {
		defer p.mu.Unlock()
		if p.closed {
			return ErrPoolClosed
		}
		return nil
	}
	done := make(chan error, 1)
	p.warmers = append(p.warmers, done)
	p.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warmers = slices.DeleteFunc(p.warmers, func(w chan error) bool { return w == done })
	return context.Cause(ctx)
}

// fill starts VMs if some are wanted. The pool is locked.
func (p *Pool) fill() {
	for !p.closed && p.retry == nil && p.starting < startsAtOnce() &&
		len(p.idle)+p.offered+len(p.used)+p.starting+p.ending < p.config.Max &&
		len(p.idle)+p.starting < p.config.Min+len(p.waiters) {
		p.starting++
		p.spawn(p.start)
	}
}

// start starts a VM.
func (p *Pool) start() {
	vm, err := p.vms.start(p.ctx)
	if err == nil && p.config.HealthCheck != nil {
		if err = p.examine(p.ctx, vm); err != nil {
			p.vms.end(vm)
			err = fmt.Errorf("it is not healthy: %w", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	if err != nil {
		p.count.Failed++
		p.fail(fmt.Errorf("start a VM of the pool: %w", err))
		return
	}
	p.count.Created++
	m := &pooled{vm: vm, gone: make(chan struct{})}
	go p.watch(m)
	p.put(m, true)
	p.fill()
}

// watch waits for a VM's end. One that nobody uses is replaced.
func (p *Pool) watch(m *pooled) {
	err := p.vms.wait(m.vm)
	p.mu.Lock()
	defer p.mu.Unlock()
	close(m.gone)
	if i := slices.Index(p.idle, m); i >= 0 {
		p.count.Unhealthy++
		p.fail(fmt.Errorf("a VM of the pool ended before anybody took it: %w", err)) // before another is started
		p.destroy(p.unidle(i))
	}
}

// fail puts the next start off, since something is wrong with the VMs, and tells those
// who wait. Whoever comes first among them may still hope for a VM that is being started
// or, if those are used again, for one in use. The pool is locked.
func (p *Pool) fail(err error) {
	if p.closed {
		return
	}
	if p.retry == nil {
		p.delay = min(max(2*p.delay, firstDelay), maxDelay)
		p.retry = time.AfterFunc(p.delay, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.retry = nil
			p.fill()
		})
	}
	hope := p.starting
	if p.config.Reuse {
		hope += len(p.used) + p.offered
	}
	for len(p.waiters) > hope {
		last := len(p.waiters) - 1
		p.waiters[last] <- offer{err: err}
		p.waiters = slices.Delete(p.waiters, last, last+1)
	}
	for _, w := range p.warmers {
		w <- err
	}
	p.warmers = nil
}

// put makes a VM available: to who waits first or, if nobody does, as an idle one. fresh
// says that it was just found healthy. The pool is locked.
func (p *Pool) put(m *pooled, fresh bool) {
	switch {
	case m.ended():
		p.count.Unhealthy++
		p.destroy(m)
	case p.closed:
		p.destroy(m)
	case len(p.waiters) > 0:
		p.offered++
		p.waiters[0] <- offer{pooled: m, fresh: fresh}
		p.waiters = slices.Delete(p.waiters, 0, 1)
	default:
		m.since = time.Now()
		p.idle = append(p.idle, m)
		if len(p.idle) >= p.config.Min {
			for _, w := range p.warmers {
				w <- nil
			}
			p.warmers = nil
		}
	}
}

// unidle takes an idle VM out of the list. The pool is locked.
func (p *Pool) unidle(i int) *pooled {
	m := p.idle[i]
	p.idle = slices.Delete(p.idle, i, i+1)
	if m.disturb != nil {
		m.disturb()
	}
	return m
}

// destroy ends a VM in the background, and starts another if it is missed. The pool is
// locked.
func (p *Pool) destroy(m *pooled) {
	p.ending++
	p.fill()
	p.spawn(func() {
		p.vms.end(m.vm)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ending--
		p.count.Destroyed++
		p.fill()
	})
}
