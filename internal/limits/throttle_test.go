package limits

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spinVM is a VM whose vCPUs are threads that do nothing, at full speed.
type spinVM struct {
	held    atomic.Bool
	mu      sync.Mutex
	changed sync.Cond
	tids    []int
	done    chan struct{}
	threads sync.WaitGroup
}

func startSpinning(t *testing.T, vcpus int) *spinVM {
	v := &spinVM{done: make(chan struct{})}
	v.changed.L = &v.mu
	tids := make(chan int)
	for range vcpus {
		v.threads.Go(func() {
			runtime.LockOSThread() // and not unlocked: the thread ends with its time
			tids <- unix.Gettid()
			for !v.ended() {
				for !v.held.Load() && !v.ended() {
				}
				v.mu.Lock()
				for v.held.Load() && !v.ended() {
					v.changed.Wait()
				}
				v.mu.Unlock()
			}
		})
	}
	for range vcpus {
		v.tids = append(v.tids, <-tids)
	}
	t.Cleanup(func() {
		close(v.done)
		v.Hold(false)
		v.threads.Wait()
	})
	return v
}

func (v *spinVM) ended() bool {
	select {
	case <-v.done:
		return true
	default:
		return false
	}
}

func (v *spinVM) Done() <-chan struct{} { return v.done }

func (v *spinVM) Hold(held bool) {
	v.mu.Lock()
	v.held.Store(held)
	v.mu.Unlock()
	v.changed.Broadcast()
}

func (v *spinVM) CPUTime() time.Duration {
	var used time.Duration
	for _, tid := range v.tids {
		var ts unix.Timespec
		if unix.ClockGettime(int32(^tid<<3|4|2), &ts) == nil { // clock_getcpuclockid(3), of a thread
			used += time.Duration(ts.Nano())
		}
	}
	return used
}

// delayed is how long v's threads could have run and the host did not let them.
func (v *spinVM) delayed(t *testing.T) time.Duration {
	var sum time.Duration
	for _, tid := range v.tids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/schedstat", tid))
		var ran, waited int64
		if _, serr := fmt.Sscan(string(b), &ran, &waited); err != nil || serr != nil {
			t.Skipf("cannot tell how busy this host is: %v, %v", err, serr)
		}
		sum += time.Duration(waited)
	}
	return sum
}

// TestThreadsGetTheirShare throttles threads that really run.
func TestThreadsGetTheirShare(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 5 s each")
	}
	for _, c := range []struct {
		vcpus int
		quota time.Duration
	}{
		{1, 20 * time.Millisecond},
		{1, 50 * time.Millisecond},
		{2, 150 * time.Millisecond},
		{2, 5 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%v for %d", c.quota, c.vcpus), func(t *testing.T) {
			for try := 1; ; try++ {
				short, why := share(t, c.vcpus, c.quota)
				if why == "" {
					return
				}
				t.Log(why)
				if try < 4 {
					t.Log("once more: this host may be busy")
					continue
				}
				if short {
					t.Skip("this host is too busy")
				}
				t.FailNow()
			}
		})
	}
}

// share throttles threads for 5 s and says what was wrong with their share, if
// anything, and whether the host is to blame.
func share(t *testing.T, vcpus int, quota time.Duration) (busy bool, why string) {
	v := startSpinning(t, vcpus)
	start, before := time.Now(), v.CPUTime()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	Throttle(ctx, v, vcpus, quota)
	v.Hold(true)
	used, took := v.CPUTime()-before, time.Since(start)
	part, want := float64(used)/float64(took), float64(quota)/float64(Period)
	text := fmt.Sprintf("used %.4f processors in %v, asked for %.4f (%+.1f %%)", part, took.Round(time.Millisecond), want, 100*(part/want-1))
	if part > want*0.9 && part < want*1.1 {
		t.Log(text)
		return false, ""
	}
	// A host that kept them for half of what is missing is busy enough: a hold cuts
	// short what they waited for.
	waited := v.delayed(t)
	return part < want && 2*waited > time.Duration((want-part)*float64(took)), strings.Join([]string{text, "the host made them wait", waited.String()}, "; ")
}
