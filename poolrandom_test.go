package holt

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestPoolRandom: many who come and give up, VMs that do not start, are sick and die, and
// the pool's end at any moment. Nobody shares a VM, nothing is lost, and the figures add
// up all the time.
func TestPoolRandom(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) { playPool(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

// dice are random numbers for several goroutines.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (d *dice) oneIn(n int) bool { return d.below(n) == 0 }

func (d *dice) below(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}

func (d *dice) time(most time.Duration) time.Duration { return time.Duration(d.below(int(most))) }

func playPool(t *testing.T, r *rand.Rand) {
	d := &dice{r: r}
	f := newFakeMachines(t)
	trouble := 0
	if d.oneIn(2) {
		trouble = 2 + d.below(20)
	}
	bad := func() bool { return trouble > 0 && d.oneIn(trouble) }
	f.fails = func(int) error {
		time.Sleep(d.time(f.startTime))
		if bad() {
			return errors.New("does not start")
		}
		return nil
	}
	check := func(ctx context.Context, _ *VM) error {
		select {
		case <-time.After(d.time(5 * time.Millisecond)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if bad() {
			return errors.New("sick")
		}
		return nil
	}
	f.pings = check
	config := PoolConfig{Min: d.below(4), Reuse: d.oneIn(2)}
	config.Max = max(config.Min, 1) + d.below(4)
	if d.oneIn(2) {
		config.HealthCheck = check
	}
	if d.oneIn(2) {
		config.IdleTimeout = 1 + d.time(100*time.Millisecond)
	}
	p := f.pool(config)

	var owners sync.Map // who has a VM
	var users sync.WaitGroup
	for range 1 + d.below(20) {
		users.Go(func() {
			for range 30 {
				ctx, cancel := context.WithTimeout(t.Context(), d.time(200*time.Millisecond))
				vm, err := p.Acquire(ctx)
				cancel()
				if (vm == nil) == (err == nil) {
					t.Errorf("%p, %v", vm, err)
				}
				if err != nil {
					continue
				}
				if _, shared := owners.LoadOrStore(vm, true); shared {
					t.Error("a VM has two users")
				}
				time.Sleep(d.time(50 * time.Millisecond))
				if bad() {
					f.die(vm)
				}
				owners.Delete(vm)
				mustRelease(t, p, vm)
			}
		})
	}
	over := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for {
			p.Stats().addsUp(t)
			select {
			case <-over:
				return
			case <-time.After(d.time(5 * time.Millisecond)):
			}
			if bad() {
				p.mu.Lock()
				var idle []*VM
				for _, m := range p.idle {
					idle = append(idle, m.vm)
				}
				p.mu.Unlock()
				for _, vm := range idle {
					f.die(vm)
				}
			}
			if bad() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				_ = p.Warm(ctx)
				cancel()
			}
		}
	})
	if d.oneIn(2) {
		time.Sleep(d.time(time.Second))
		_ = p.Close()
	}
	users.Wait()
	if trouble == 0 && !p.closed {
		// All that were used once are replaced.
		if err := p.Warm(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if s := p.Stats(); s.Idle < s.Min || s.InUse+s.Waiting > 0 || s.Failed+s.Unhealthy > 0 {
			t.Errorf("in the end, %+v", s)
		}
	}
	close(over)
	others.Wait()
	f.over(p)
}
