package kvm

import (
	"context"
	"sync"
)

// gate lets vCPU threads into the guest. Closed, it holds them; finished, it sends
// them home. Closing stops those that come to it: whoever closes it also kicks
// those that are inside. There are two reasons to close it, and it is open when
// there is neither.
type gate struct {
	mu       sync.Mutex
	changed  sync.Cond
	closed   [reasons]bool
	finished bool
	threads  int // that run or will
	waiting  int // that stand before the closed gate
}

// reason is why the gate is closed.
type reason int

const (
	pause   reason = iota // the machine is paused
	hold                  // the vCPUs had their share of the processors for now
	reasons = iota
)

// shut reports whether threads have to wait.
func (g *gate) shut() bool { return (g.closed[pause] || g.closed[hold]) && !g.finished }

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
	if g.shut() {
		g.waiting++
		g.changed.Broadcast() // once: threads that wait must not wake each other
		for g.shut() {
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

// set closes the gate for a reason, or takes the reason back.
func (g *gate) set(why reason, closed bool) {
	g.change(func() { g.closed[why] = closed })
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
