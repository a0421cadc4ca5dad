package monitor

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRunDelay: of two threads that share a processor, one waits at any time. Threads
// that end take what they have waited with them, so it may take another try.
func TestRunDelay(t *testing.T) {
	const spin = 200 * time.Millisecond
	var waited time.Duration
	for range 5 {
		if waited = delayOfTwo(t, spin); waited >= spin/4 {
			return
		}
	}
	t.Errorf("two threads had one processor for %v and waited %v", spin, waited)
}

// delayOfTwo makes two threads share a processor for as long.
func delayOfTwo(t *testing.T, spin time.Duration) (waited time.Duration) {
	t.Helper()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for first := 0; one.Count() == 0; first++ {
		if all.IsSet(first) {
			one.Set(first)
		}
	}
	var threads, ready sync.WaitGroup
	ready.Add(2)
	for i := range 2 {
		threads.Go(func() {
			runtime.LockOSThread() // and it ends with the goroutine: it has one processor
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				t.Error(err)
			}
			ready.Done()
			ready.Wait()
			before := runDelay("self")
			for begin := time.Now(); time.Since(begin) < spin; {
			}
			if i == 0 {
				waited = runDelay("self") - before
			}
		})
	}
	threads.Wait()
	return waited
}
