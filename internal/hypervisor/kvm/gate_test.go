package kvm

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeVCPU stands for a vCPU's thread: it stays in the guest until it is kicked.
type fakeVCPU struct{ kicked atomic.Bool }

func (c *fakeVCPU) run(g *gate, inside *atomic.Int32) {
	defer g.leave()
	for g.enter(func() { c.kicked.Store(false) }) {
		inside.Add(1)
		for !c.kicked.Load() {
			time.Sleep(time.Microsecond)
		}
		inside.Add(-1)
	}
}

// within fails the test if f takes long: somebody was not woken or not kicked.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s takes for ever", what)
	}
}

// TestGateHoldsEverybody: once everybody is awaited, nobody is inside until the
// gate opens, and no kick is lost between two closings.
func TestGateHoldsEverybody(t *testing.T) {
	const n = 4
	g := newGate(n)
	var inside atomic.Int32
	var threads sync.WaitGroup
	vcpus := make([]fakeVCPU, n)
	for i := range vcpus {
		threads.Go(func() { vcpus[i].run(g, &inside) })
	}
	kick := func() {
		for i := range vcpus {
			vcpus[i].kicked.Store(true)
		}
	}
	within(t, "closing and opening", func() {
		// A thousand times, or as often as a slow machine can in a while.
		for i, end := 0, time.Now().Add(2*time.Second); i < 1000 && time.Now().Before(end); i++ {
			g.set(pause, true)
			kick()
			if !g.awaitAll(t.Context()) {
				t.Error("a gate that is not finished says so")
			}
			for range i % 3 {
				runtime.Gosched()
				if k := inside.Load(); k != 0 {
					t.Errorf("round %d: %d are inside a closed gate", i, k)
				}
			}
			g.set(pause, false)
			if i%2 == 0 {
				runtime.Gosched() // else it closes again before anybody woke
			}
		}
	})
	g.finish()
	kick()
	within(t, "going home", threads.Wait)
	if g.threads != 0 || g.waiting != 0 {
		t.Errorf("%d threads and %d waiting are left", g.threads, g.waiting)
	}
}

func TestGateFinishes(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(g *gate)
	}{
		{"open", func(*gate) {}},
		{"closed", func(g *gate) { g.set(pause, true) }},
		{"closed, and opened later", func(g *gate) {
			g.set(pause, true)
			defer g.set(pause, false)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate(1)
			c.do(g)
			g.finish()
			within(t, "a finished gate", func() {
				if g.enter(func() {}) {
					t.Error("lets in")
				}
				if g.awaitAll(t.Context()) {
					t.Error("somebody is held there")
				}
			})
			g.set(pause, false)
			if g.enter(func() {}) {
				t.Error("opens again")
			}
		})
	}
}

// TestGateEndWhileClosing: an end frees whoever waits for everybody, also if one
// never comes.
func TestGateEndWhileClosing(t *testing.T) {
	g := newGate(2) // of which none comes
	g.set(pause, true)
	answer := make(chan bool)
	go func() { answer <- g.awaitAll(t.Context()) }()
	select {
	case <-answer:
		t.Fatal("nobody came, and everybody is there")
	case <-time.After(10 * time.Millisecond):
	}
	g.finish()
	within(t, "the end", func() {
		if <-answer {
			t.Error("says that everybody came")
		}
	})
}

// TestGateForgetsWhoLeft: a thread that ended is not waited for.
func TestGateForgetsWhoLeft(t *testing.T) {
	g := newGate(2)
	g.leave()
	g.set(pause, true)
	go g.enter(func() {})
	within(t, "waiting for the other", func() {
		if !g.awaitAll(t.Context()) {
			t.Error("the gate is finished")
		}
	})
	g.finish()
}

// TestGateStopsWaiting: whoever waits for everybody can give up.
func TestGateStopsWaiting(t *testing.T) {
	g := newGate(1) // which never comes
	g.set(pause, true)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	within(t, "giving up", func() {
		if g.awaitAll(ctx) {
			t.Error("nobody came, and everybody is there")
		}
	})
}

// TestGateReasons: the gate is open only when there is no reason to close it.
func TestGateReasons(t *testing.T) {
	g := newGate(1)
	var inside atomic.Int32
	var c fakeVCPU
	var thread sync.WaitGroup
	thread.Go(func() { c.run(g, &inside) })
	shut := func(why reason, closed bool) {
		g.set(why, closed)
		c.kicked.Store(closed)
	}
	comesOut := func(after string) {
		t.Helper()
		within(t, after, func() {
			if !g.awaitAll(t.Context()) {
				t.Errorf("%s: the gate is finished", after)
			}
		})
		time.Sleep(time.Millisecond)
		if inside.Load() != 0 {
			t.Errorf("%s: it is inside", after)
		}
	}
	shut(hold, true)
	comesOut("held")
	shut(pause, true)
	comesOut("held and paused")
	g.set(hold, false)
	comesOut("paused")
	g.set(hold, true)
	g.set(pause, false)
	comesOut("held again")
	g.set(hold, false)
	within(t, "opening", func() {
		for inside.Load() == 0 {
			time.Sleep(time.Microsecond)
		}
	})
	g.finish()
	c.kicked.Store(true)
	within(t, "going home", thread.Wait)
}
