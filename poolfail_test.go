package holt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestPoolBacksOff: starts that fail become rare, and those who wait are told.
func TestPoolBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		f.startTime = 0
		var works bool
		f.fails = func(int) error {
			if works {
				return nil
			}
			return errors.New("no memory")
		}
		began := time.Now()
		p := f.pool(PoolConfig{Max: 1})
		var pauses []time.Duration
		before := began
		for range 9 {
			_, err := p.Acquire(t.Context())
			if err == nil || err.Error() != "start a VM of the pool: no memory" {
				t.Errorf("Acquire: %v", err)
			}
			pauses = append(pauses, time.Since(before).Round(time.Millisecond))
			before = time.Now()
		}
		const ms = time.Millisecond
		if want := []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5 * time.Second, 5 * time.Second}; !slices.Equal(pauses, want) {
			t.Errorf("the tries came after %v, want %v", pauses, want)
		}
		works = true
		vm := mustAcquire(t, p)
		if took := time.Since(before); took != maxDelay {
			t.Errorf("a VM after %v", took)
		}
		mustRelease(t, p, vm)
		time.Sleep(time.Second)
		works = false
		before = time.Now()
		for range 2 {
			if _, err := p.Acquire(t.Context()); err == nil {
				t.Error("a VM that did not start")
			}
		}
		if took := time.Since(before); took != firstDelay {
			t.Errorf("after a success the second try came after %v", took)
		}
		stats(t, p, PoolStats{Misses: 1, Released: 1, Created: 1, Destroyed: 1, Failed: 11})
		f.over(p)
	})
}

// TestPoolFailureTellsWhomItConcerns: who may still get a VM waits for it.
func TestPoolFailureTellsWhomItConcerns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		broken := errors.New("broken")
		f.fails = func(n int) error {
			if n == 1 {
				return nil
			}
			if n%2 == 0 {
				return broken
			}
			time.Sleep(f.startTime) // it fails later
			return broken
		}
		p := f.pool(PoolConfig{Max: 3, Reuse: true})
		vm := mustAcquire(t, p)
		errs := make([]chan error, 4)
		for i := range errs {
			errs[i] = make(chan error, 1)
			go func() {
				vm, err := p.Acquire(t.Context())
				errs[i] <- err
				if err == nil {
					mustRelease(t, p, vm)
				}
			}()
			synctest.Wait()
		}
		told := func() (told []bool) {
			synctest.Wait()
			for _, c := range errs {
				told = append(told, len(c) == 1)
			}
			return told
		}
		time.Sleep(f.startTime)
		if got := told(); !slices.Equal(got, []bool{false, false, true, true}) {
			t.Errorf("with one start under way and one VM in use, %v are told", got)
		}
		time.Sleep(f.startTime)
		if got := told(); !slices.Equal(got, []bool{false, true, true, true}) {
			t.Errorf("with one VM in use, %v are told", got)
		}
		mustRelease(t, p, vm)
		synctest.Wait()
		for i, c := range errs {
			if err := <-c; (i == 0) != (err == nil) || i > 0 && !errors.Is(err, broken) {
				t.Errorf("%d: %v", i, err)
			}
		}
		f.over(p)
	})
}

func TestPoolWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		f.fails = func(n int) error {
			if n <= 2 {
				return errors.New("no memory")
			}
			return nil
		}
		p := f.pool(PoolConfig{Min: 2})
		if err := p.Warm(t.Context()); err == nil || !strings.Contains(err.Error(), "no memory") {
			t.Errorf("Warm: %v", err)
		}
		synctest.Wait() // both have failed
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("no time"))
		defer cancel()
		if err := p.Warm(ctx); err == nil || err.Error() != "no time" {
			t.Errorf("Warm that was given up: %v", err)
		}
		for range 2 {
			if err := p.Warm(t.Context()); err != nil {
				t.Error(err)
			}
		}
		stats(t, p, PoolStats{Idle: 2, Created: 2, Failed: 2})
		f.over(p)
	})
}

// TestPoolVMDiesWhileIdle: it is replaced, and VMs that die at once are not started
// again and again.
func TestPoolVMDiesWhileIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		p := f.pool(PoolConfig{Min: 1})
		for range 20 {
			if err := p.Warm(t.Context()); err != nil {
				t.Fatal(err)
			}
			told := make(chan error)
			f.die(f.all[len(f.all)-1])
			synctest.Wait()
			go func() { told <- p.Warm(t.Context()) }()
			if err := <-told; err != nil {
				t.Error(err)
			}
		}
		for i := range f.starts[10:] {
			if pause := f.starts[i+10].Sub(f.starts[i+9]); pause < maxDelay {
				t.Errorf("start %d came after %v", i+10, pause)
			}
		}
		stats(t, p, PoolStats{Idle: 1, Created: 21, Destroyed: 20, Unhealthy: 20})
		// One of three that Warm waits for.
		q := newFakeMachines(t)
		r := q.pool(PoolConfig{Min: 3, Max: 3})
		told := make(chan error)
		go func() { told <- r.Warm(t.Context()) }()
		time.Sleep(q.startTime)
		synctest.Wait()
		q.die(q.all[0])
		if err := <-told; err == nil || !strings.Contains(err.Error(), "before anybody took it: its program ended") {
			t.Errorf("Warm: %v", err)
		}
		q.over(r)
		f.over(p)
	})
}

func TestPoolHealthCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		f.pings = func(context.Context, *VM) error { t.Error("pinged"); return nil }
		var mu sync.Mutex
		checks, sick := map[*VM]int{}, map[*VM]bool{}
		p := f.pool(PoolConfig{Min: 2, Max: 4, HealthCheck: func(_ context.Context, vm *VM) error {
			time.Sleep(time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			checks[vm]++
			if sick[vm] {
				return errors.New("it coughs")
			}
			return nil
		}})
		if err := p.Warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		mu.Lock()
		well, next := p.idle[0].vm, p.idle[1].vm
		if checks[well] != 1 || checks[next] != 1 {
			t.Errorf("when they have started, they were checked %d and %d times", checks[well], checks[next])
		}
		sick[next] = true
		mu.Unlock()
		vm := mustAcquire(t, p)
		mu.Lock()
		if vm != well || checks[well] != 2 || checks[next] != 2 {
			t.Errorf("a VM that was checked %d times, the sick one: %v", checks[vm], vm == next)
		}
		mu.Unlock()
		time.Sleep(time.Second)
		stats(t, p, PoolStats{Idle: 2, InUse: 1, Hits: 1, Created: 4, Destroyed: 1, Unhealthy: 1})
		mu.Lock()
		for _, vm := range f.all {
			sick[vm] = true
		}
		mu.Unlock()
		time.Sleep(checkInterval)
		stats(t, p, PoolStats{Idle: 2, InUse: 1, Hits: 1, Created: 6, Destroyed: 3, Unhealthy: 3})
		mustRelease(t, p, vm)
		f.over(p)
	})
}

// TestPoolSickFromTheStart: a VM that is not healthy when it has started is a start that
// failed.
func TestPoolSickFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		p := f.pool(PoolConfig{HealthCheck: func(ctx context.Context, _ *VM) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		began := time.Now()
		_, err := p.Acquire(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not healthy") {
			t.Errorf("Acquire: %v", err)
		}
		if took := time.Since(began); took != f.startTime+checkTime+f.endTime {
			t.Errorf("after %v", took)
		}
		stats(t, p, PoolStats{Failed: 1})
		f.over(p)
	})
}

// TestPoolCheckIsGivenUp: by a caller, the VM stays; for a caller, who gets the VM.
func TestPoolCheckIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		var hangs atomic.Bool
		p := f.pool(PoolConfig{Min: 1, Max: 1, Reuse: true, HealthCheck: func(ctx context.Context, _ *VM) error {
			if !hangs.Load() {
				return nil
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}})
		if err := p.Warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		hangs.Store(true)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("no time"))
		defer cancel()
		if _, err := p.Acquire(ctx); err == nil || err.Error() != "no time" {
			t.Errorf("Acquire: %v", err)
		}
		stats(t, p, PoolStats{Idle: 1, Created: 1})
		time.Sleep(checkInterval) // the check in the background has begun, and hangs
		synctest.Wait()
		hangs.Store(false)
		vm := mustAcquire(t, p)
		mustRelease(t, p, vm)
		time.Sleep(time.Second)
		stats(t, p, PoolStats{Idle: 1, Hits: 1, Released: 1, Created: 1})
		f.over(p)
	})
}

// TestPoolPingsIdleVMs: one that hangs is found and replaced; nobody who comes for a VM
// waits for that.
func TestPoolPingsIdleVMs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		f.pings = func(ctx context.Context, vm *VM) error {
			f.mu.Lock()
			hung := f.all[0]
			f.mu.Unlock()
			if vm == hung {
				<-ctx.Done()
			}
			return context.Cause(ctx)
		}
		p := f.pool(PoolConfig{Min: 1, Max: 2})
		time.Sleep(checkInterval + checkTime + f.startTime)
		stats(t, p, PoolStats{Idle: 1, Created: 2, Destroyed: 1, Unhealthy: 1})
		began := time.Now()
		mustRelease(t, p, mustAcquire(t, p))
		if took := time.Since(began); took != 0 {
			t.Errorf("Acquire took %v", took)
		}
		f.over(p)
	})
}
