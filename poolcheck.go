package holt

import (
	"context"
	"slices"
	"time"
)

const (
	// checkInterval is how often idle VMs are checked, and checkTime what a check may
	// take.
	checkInterval = 30 * time.Second
	checkTime     = 5 * time.Second
)

// examine asks whether a VM is healthy.
func (p *Pool) examine(ctx context.Context, vm *VM) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	check := p.config.HealthCheck
	if check == nil {
		check = p.vms.ping
	}
	return check(ctx, vm)
}

// inspect checks idle VMs again and again, one after the other.
func (p *Pool) inspect() {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		idle := slices.Clone(p.idle)
		p.mu.Unlock()
		for _, m := range idle {
			p.inspectOne(m)
		}
	}
}

// inspectOne checks a VM if it is still idle. Who wants it meanwhile gets it.
func (p *Pool) inspectOne(m *pooled) {
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	p.mu.Lock()
	idle := slices.Contains(p.idle, m)
	if idle {
		m.disturb = cancel
	}
	p.mu.Unlock()
	if !idle {
		return
	}
	err := p.examine(ctx, m.vm)
	p.mu.Lock()
	defer p.mu.Unlock()
	m.disturb = nil
	if err != nil && ctx.Err() == nil {
		p.count.Unhealthy++
		p.destroy(p.unidle(slices.Index(p.idle, m)))
	}
}

// evict ends VMs above Min that were idle for too long.
func (p *Pool) evict() {
	for {
		p.mu.Lock()
		// A VM that becomes idle while this waits stays for as long at least.
		wait := p.config.IdleTimeout
		for len(p.idle) > p.config.Min {
			if left := time.Until(p.idle[0].since.Add(p.config.IdleTimeout)); left > 0 {
				wait = left
				break
			}
			p.count.Evicted++
			p.destroy(p.unidle(0))
		}
		p.mu.Unlock()
		select {
		case <-p.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}
