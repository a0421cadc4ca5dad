package kvm

import (
	"context"
	"sync"
)

// gate lets vCPU threads into the guest. Closed, it holds them (the machine is
// paused); finished, it sends them home. Closing stops those that come to it:
// whoever closes it also kicks those that are inside.
type gate struct {
	mu       sync.Mutex
	changed  sync.Cond
	closed   bool
	finished bool
	threads  int // that run or will
	waiting  int // that stand before the closed gate
}

func newGate(threads int) *gate {
	g := &gate{threads: threads}
	g.changed.L = &g.mu
	return g
}

// enter waits while the gate is closed. It reports false once it is finished.
// Before it lets a thread in it calls opened: whoever closes the gate after that is
// later than opened, too.
func (g *gate) enter(opened func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed && !g.finished {
		g.waiting++
		g.changed.Broadcast() // once: threads that wait must not wake each other
		for g.closed && !g.finished {
			g.changed.Wait()
		}
		g.waiting--
	}
	opened()
	return !g.finished
}

// leave takes note of a thread that will not come again.
func (g *gate) leave() {
	g.change(func() { g.threads-- })
}

// set closes the gate, or opens it.
func (g *gate) set(closed bool) {
	g.change(func() { g.closed = closed })
}

// finish opens the gate to nowhere.
func (g *gate) finish() {
	g.change(func() { g.finished = true })
}

func (g *gate) change(f func()) {
	g.mu.Lock()
	f()
	g.mu.Unlock()
	g.changed.Broadcast()
}

// awaitAll returns when every thread stands before the closed gate or is gone. It
// reports false if the gate is finished or ctx ends instead.
func (g *gate) awaitAll(ctx context.Context) bool {
	defer context.AfterFunc(ctx, func() { g.change(func() {}) })()
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.waiting < g.threads && !g.finished && ctx.Err() == nil {
		g.changed.Wait()
	}
	return g.waiting == g.threads && !g.finished
}
