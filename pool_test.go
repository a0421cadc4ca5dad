package holt

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func mustAcquire(t *testing.T, p *Pool) *VM {
	t.Helper()
	vm, err := p.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func mustRelease(t *testing.T, p *Pool, vms ...*VM) {
	t.Helper()
	for _, vm := range vms {
		if err := p.Release(vm); err != nil {
			t.Error(err)
		}
	}
}

// stats waits until nothing goes on, and compares what the pool says.
func stats(t *testing.T, p *Pool, want PoolStats) {
	t.Helper()
	synctest.Wait()
	s := p.Stats()
	s.addsUp(t)
	want.Min, want.Max = s.Min, s.Max
	if s != want {
		t.Errorf("\n%+v, want\n%+v", s, want)
	}
}

func TestPoolHandsOutAndReplaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		p := f.pool(PoolConfig{Min: 2, Max: 3})
		if err := p.Warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		stats(t, p, PoolStats{Idle: 2, Created: 2})
		began := time.Now()
		a, b := mustAcquire(t, p), mustAcquire(t, p)
		if took := time.Since(began); a == b || took != 0 {
			t.Errorf("%p and %p after %v", a, b, took)
		}
		stats(t, p, PoolStats{InUse: 2, Starting: 1, Hits: 2, Created: 2})
		c := mustAcquire(t, p)
		if took := time.Since(began); took != f.startTime {
			t.Errorf("one that was started took %v", took)
		}
		stats(t, p, PoolStats{InUse: 3, Hits: 2, Misses: 1, Created: 3})
		mustRelease(t, p, a)
		stats(t, p, PoolStats{InUse: 2, Ending: 1, Hits: 2, Misses: 1, Released: 1, Created: 3})
		time.Sleep(time.Second)
		stats(t, p, PoolStats{Idle: 1, InUse: 2, Hits: 2, Misses: 1, Released: 1, Created: 4, Destroyed: 1})
		if err := p.Release(a); err == nil || !strings.Contains(err.Error(), "released before") {
			t.Errorf("a second release: %v", err)
		}
		if err := p.Release(&VM{}); err == nil {
			t.Error("a foreign VM was released")
		}
		mustRelease(t, p, b, c)
		time.Sleep(time.Second)
		stats(t, p, PoolStats{Idle: 2, Hits: 2, Misses: 1, Released: 3, Created: 5, Destroyed: 3})
		f.over(p)
	})
}

func TestPoolReuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		p := f.pool(PoolConfig{Max: 1, Reuse: true})
		a := mustAcquire(t, p)
		waits := make(chan *VM)
		go func() {
			vm, _ := p.Acquire(t.Context())
			waits <- vm
		}()
		synctest.Wait()
		mustRelease(t, p, a)
		if vm := <-waits; vm != a {
			t.Error("who waited has another VM")
		}
		mustRelease(t, p, a)
		if vm := mustAcquire(t, p); vm != a {
			t.Error("who came later has another VM")
		}
		stats(t, p, PoolStats{InUse: 1, Hits: 1, Misses: 2, Released: 2, Created: 1})
		f.die(a)
		synctest.Wait()
		mustRelease(t, p, a)
		stats(t, p, PoolStats{Ending: 1, Hits: 1, Misses: 2, Released: 3, Created: 1, Unhealthy: 1})
		f.over(p)
	})
}

func TestPoolServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		p := f.pool(PoolConfig{Max: 1})
		var order []int
		turns := make(chan int)
		for i := range 20 {
			go func() {
				vm, err := p.Acquire(t.Context())
				if err != nil {
					t.Error(err)
				}
				turns <- i
				mustRelease(t, p, vm)
			}()
			synctest.Wait() // it stands in the queue
		}
		for range 20 {
			order = append(order, <-turns)
		}
		if !slices.IsSorted(order) {
			t.Errorf("served in the order %v", order)
		}
		time.Sleep(time.Second)
		s := f.over(p)
		if s.Hits+s.Misses != 20 || s.Released != 20 || s.Created != 20 {
			t.Errorf("%+v", s)
		}
	})
}

// TestPoolCancelledAcquire: what a call that was given up had coming is another's.
func TestPoolCancelledAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		p := f.pool(PoolConfig{Max: 1})
		ctx, cancel := context.WithTimeoutCause(t.Context(), f.startTime/2, errors.New("no time"))
		defer cancel()
		if _, err := p.Acquire(ctx); err == nil || err.Error() != "no time" {
			t.Errorf("a call that was given up: %v", err)
		}
		if _, err := p.Acquire(ctx); err == nil || err.Error() != "no time" {
			t.Errorf("a call without a chance: %v", err)
		}
		stats(t, p, PoolStats{Starting: 1})
		time.Sleep(time.Second)
		stats(t, p, PoolStats{Idle: 1, Created: 1})
		// The offer and the end of ctx at one moment.
		vm := mustAcquire(t, p)
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			first, second := make(chan *VM), make(chan *VM)
			go func() {
				vm, _ := p.Acquire(ctx)
				first <- vm
			}()
			synctest.Wait()
			go func() {
				vm, _ := p.Acquire(t.Context())
				second <- vm
			}()
			synctest.Wait()
			go cancel()
			mustRelease(t, p, vm)
			if vm = <-first; vm != nil {
				mustRelease(t, p, vm)
			}
			vm = <-second
			if vm == nil {
				t.Fatal("the one who did not give up has no VM")
			}
			p.Stats().addsUp(t)
		}
		mustRelease(t, p, vm)
		f.over(p)
	})
}

func TestPoolClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		p := f.pool(PoolConfig{Min: 1, Max: 2})
		a, b := mustAcquire(t, p), mustAcquire(t, p)
		mustRelease(t, p, a)
		errs := make(chan error)
		for range 2 {
			go func() {
				_, err := p.Acquire(t.Context())
				errs <- err
			}()
		}
		go func() { errs <- p.Warm(t.Context()) }()
		time.Sleep(f.endTime + f.startTime/2) // a VM is being started
		began := time.Now()
		if err := p.Close(); err != nil || time.Since(began) != 0 {
			t.Errorf("Close: %v after %v", err, time.Since(began))
		}
		for range 3 {
			if err := <-errs; !errors.Is(err, ErrPoolClosed) {
				t.Errorf("a call that waited: %v", err)
			}
		}
		if f.ended(b) == nil || f.count() != 1 {
			t.Errorf("%d VMs live", f.count())
		}
		if _, err := p.Acquire(t.Context()); !errors.Is(err, ErrPoolClosed) {
			t.Errorf("Acquire: %v", err)
		}
		if err := p.Warm(t.Context()); !errors.Is(err, ErrPoolClosed) {
			t.Errorf("Warm: %v", err)
		}
		mustRelease(t, p, b)
		f.over(p)
	})
}

func TestPoolEvicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMachines(t)
		p := f.pool(PoolConfig{Min: 1, Max: 3, IdleTimeout: time.Minute, Reuse: true})
		var vms []*VM
		for range 3 {
			time.Sleep(time.Second)
			vms = append(vms, mustAcquire(t, p))
		}
		a, b, c := vms[0], vms[1], vms[2]
		mustRelease(t, p, a)
		time.Sleep(20 * time.Second)
		mustRelease(t, p, b)
		time.Sleep(20 * time.Second)
		mustRelease(t, p, c)
		time.Sleep(20*time.Second - 1)
		stats(t, p, PoolStats{Idle: 3, Hits: 3, Released: 3, Created: 3})
		time.Sleep(f.endTime + 1)
		stats(t, p, PoolStats{Idle: 2, Hits: 3, Released: 3, Created: 3, Destroyed: 1, Evicted: 1})
		time.Sleep(20 * time.Second)
		stats(t, p, PoolStats{Idle: 1, Hits: 3, Released: 3, Created: 3, Destroyed: 2, Evicted: 2})
		time.Sleep(time.Hour)
		if vm := mustAcquire(t, p); vm != c {
			t.Error("the VM that was used last was evicted")
		}
		mustRelease(t, p, c)
		f.over(p)
	})
}

func TestPoolConfigComplete(t *testing.T) {
	from := PoolSnapshot("x")
	for _, tt := range []struct {
		config PoolConfig
		max    int
		wrong  []string
	}{
		{PoolConfig{From: from}, 4, nil},
		{PoolConfig{From: from, Min: 3}, 12, nil},
		{PoolConfig{From: from, Min: 3, Max: 3}, 3, nil},
		{PoolConfig{From: from, Max: 1, Options: []Option{WithBinary("/bin/holt")}}, 1, nil},
		{PoolConfig{}, 0, []string{"From is not set"}},
		{PoolConfig{From: from, Min: -1}, 0, []string{"Min is -1"}},
		{PoolConfig{From: from, Min: 2, Max: 1}, 0, []string{"Max is 1"}},
		{PoolConfig{From: from, Max: -1, IdleTimeout: -1}, 0, []string{"Max is -1", "IdleTimeout is -1ns"}},
		{PoolConfig{From: from, Options: []Option{Keep(), WithName("x")}}, 0, []string{"cannot be kept", `called "x"`}},
		{PoolConfig{From: from, Options: []Option{WithName(":")}}, 0, []string{"name"}},
	} {
		c, err := tt.config.complete()
		if tt.wrong == nil && (err != nil || c.Max != tt.max) {
			t.Errorf("%+v: Max %d, %v", tt.config, c.Max, err)
		}
		for _, text := range tt.wrong {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%+v: %v, want %q", tt.config, err, text)
			}
		}
		if _, nerr := NewPool(t.Context(), tt.config); tt.wrong != nil && nerr == nil {
			t.Errorf("%+v makes a pool", tt.config)
		}
	}
}

func TestNewPoolOfNothing(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	if _, err := NewPool(t.Context(), PoolConfig{From: PoolSnapshot("none")}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a pool of a snapshot that there is not: %v", err)
	}
	if _, err := NewPool(t.Context(), PoolConfig{From: PoolConfigured(Config{})}); err == nil {
		t.Error("a pool of nothing")
	}
	cfg := testVM(t, "refuses").config
	nested := cfg
	nested.Nested = true
	if _, err := NewPool(t.Context(), PoolConfig{From: PoolConfigured(nested)}); err == nil || !strings.Contains(err.Error(), "nested hypervisor") {
		t.Errorf("a pool of hypervisors: %v", err)
	}
	_, err := NewPool(t.Context(), PoolConfig{From: PoolConfigured(cfg), Options: []Option{WithBackend("qemu"), WithBinary("/bin/true")}})
	if err == nil || !strings.Contains(err.Error(), "qemu backend cannot save") {
		t.Errorf("a pool of qemu: %v", err)
	}
}

// Scripts read these names.
func TestPoolStatsNames(t *testing.T) {
	text, err := json.Marshal(PoolStats{})
	var names map[string]int
	if err == nil {
		err = json.Unmarshal(text, &names)
	}
	if err != nil || len(names) != reflect.TypeFor[PoolStats]().NumField() || strings.ToLower(string(text)) != string(text) {
		t.Errorf("%s, %v", text, err)
	}
}

// BenchmarkPoolAcquire is what the pool itself adds to a hit.
func BenchmarkPoolAcquire(b *testing.B) {
	f := newFakeMachines(nil)
	c, err := PoolConfig{Min: 4, Reuse: true, From: PoolSnapshot("none")}.complete()
	if err != nil {
		b.Fatal(err)
	}
	p := newPool(c, f)
	defer p.Close()
	if err := p.Warm(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		vm, err := p.Acquire(b.Context())
		if err == nil {
			err = p.Release(vm)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if s := p.Stats(); s.Misses > 0 {
		b.Errorf("%+v", s)
	}
}
