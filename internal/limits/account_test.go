package limits

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// modelVM is a VM whose busy vCPUs are never kept waiting by the host.
type modelVM struct {
	busy  func(up time.Duration) int // vCPUs that would run
	start time.Time
	at    time.Time
	used  time.Duration
	tick  time.Duration // CPUTime is that old, unless the vCPUs are held; 0 for exact
	seen  time.Duration
	held  bool
	looks int
	done  chan struct{}
}

func newModel(busy func(time.Duration) int) *modelVM {
	return &modelVM{busy: busy, start: time.Now(), at: time.Now(), done: make(chan struct{})}
}

const step = 100 * time.Microsecond

func (v *modelVM) advance() {
	for now := time.Now(); now.Sub(v.at) >= step; v.at = v.at.Add(step) {
		up := v.at.Sub(v.start)
		if !v.held {
			v.used += time.Duration(v.busy(up)) * step
		}
		if v.tick == 0 || v.held || up%v.tick == 0 {
			v.seen = v.used
		}
	}
}

func (v *modelVM) Done() <-chan struct{} { return v.done }
func (v *modelVM) CPUTime() time.Duration {
	v.looks++
	v.advance()
	return v.seen
}

func (v *modelVM) Hold(held bool) {
	v.advance()
	v.held = held
	v.seen = v.used
}

// run throttles v for a time and returns what it used.
func (v *modelVM) run(vcpus int, quota, d time.Duration) time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	Throttle(ctx, v, vcpus, quota)
	<-ctx.Done()
	v.advance()
	return v.used
}

func TestBusyVMGetsItsShare(t *testing.T) {
	for _, c := range []struct {
		vcpus int
		quota time.Duration
		tick  time.Duration
	}{
		{1, time.Millisecond, 0},
		{1, time.Millisecond, 10 * time.Millisecond},
		{2, time.Millisecond, 4 * time.Millisecond},
		{1, 5 * time.Millisecond, 0},
		{1, 20 * time.Millisecond, 0},
		{1, 20 * time.Millisecond, 4 * time.Millisecond},
		{1, 99 * time.Millisecond, 0},
		{2, 20 * time.Millisecond, 4 * time.Millisecond},
		{2, 150 * time.Millisecond, 0},
		{2, 150 * time.Millisecond, 10 * time.Millisecond},
		{8, 20 * time.Millisecond, 4 * time.Millisecond},
		{8, 5 * time.Millisecond, 4 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%v for %d, %v late", c.quota, c.vcpus, c.tick), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const d = 20 * time.Second
				v := newModel(func(time.Duration) int { return c.vcpus })
				v.tick = c.tick
				got, want := v.run(c.vcpus, c.quota, d), time.Duration(int64(d/Period))*c.quota
				if got < want*95/100 || got > want*105/100 {
					t.Errorf("used %v, asked for %v", got, want)
				}
				if v.held {
					t.Error("left held")
				}
			})
		})
	}
}

// TestBurstsArePaidFor: what an idle VM uses before it is looked at again counts.
func TestBurstsArePaidFor(t *testing.T) {
	for _, quota := range []time.Duration{time.Millisecond, 5 * time.Millisecond, 50 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			v := newModel(func(up time.Duration) int {
				if up%(7*time.Second) < 2*time.Second {
					return 0
				}
				return 2
			})
			got, most := v.run(2, quota, 28*time.Second), 200*quota // 20 s busy
			if got < most*90/100 || got > most*110/100 {
				t.Errorf("quota %v: bursts used %v, at most %v may", quota, got, most)
			}
		})
	}
}

// TestUnderItsQuota: a VM that needs less is never held, and seldom looked at.
func TestUnderItsQuota(t *testing.T) {
	for _, c := range []struct {
		name  string
		busy  func(time.Duration) int
		vcpus int
		quota time.Duration
		held  bool
		looks int // a second
	}{
		{"idle", func(time.Duration) int { return 0 }, 1, 20 * time.Millisecond, false, 11},
		{"idle, 5 %", func(time.Duration) int { return 0 }, 2, 5 * time.Millisecond, false, 50},
		{"idle, 1 %", func(time.Duration) int { return 0 }, 1, time.Millisecond, false, 110},
		{"ticking", func(up time.Duration) int { return b(up%(10*time.Millisecond) < 100*time.Microsecond) }, 1, 20 * time.Millisecond, false, 12},
		{"half its share", func(up time.Duration) int { return b(up%(10*time.Millisecond) < time.Millisecond) }, 1, 20 * time.Millisecond, false, 200},
		{"busy", func(time.Duration) int { return 1 }, 1, 20 * time.Millisecond, true, 50},
		{"busy, and may be", func(time.Duration) int { return 1 }, 1, 100 * time.Millisecond, false, 25},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const d = 20
				v := newModel(c.busy)
				free := newModel(c.busy)
				used := v.run(c.vcpus, c.quota, d*time.Second)
				free.at = time.Now().Add(-d * time.Second)
				free.start = free.at
				free.advance()
				if held := used < free.used; held != c.held {
					t.Errorf("used %v; unthrottled it would be %v", used, free.used)
				}
				if n := v.looks / d; n > c.looks {
					t.Errorf("%d looks a second, want at most %d", n, c.looks)
				}
			})
		})
	}
}

func b(v bool) int {
	if v {
		return 1
	}
	return 0
}

func TestThrottleEndsWithTheVM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newModel(func(time.Duration) int { return 1 })
		time.AfterFunc(50*time.Millisecond, func() { close(v.done) }) // in a hold
		Throttle(t.Context(), v, 1, time.Millisecond)
		if took := time.Since(v.start); took != 50*time.Millisecond || v.held {
			t.Errorf("ended after %v, held %v", took, v.held)
		}
	})
}

// TestHoldsAreShort: a stall of the throttle is paid for, up to a limit.
func TestHoldsAreShort(t *testing.T) {
	a := newAccount(2, time.Millisecond, time.Unix(0, 0))
	hold, wait := a.look(time.Unix(5, 0), 10*time.Second)
	if !hold || wait > (maxDebt+1)*Period {
		t.Errorf("hold %v for %v, want at most %v", hold, wait, (maxDebt+1)*Period)
	}
	if hold, _ = a.look(time.Unix(5, 0).Add(wait), 10*time.Second); hold {
		t.Error("still held when it is paid for")
	}
}
