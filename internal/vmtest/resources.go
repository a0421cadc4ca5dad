package vmtest

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// Resources is what this process holds.
type Resources struct {
	Files      int // open descriptors
	Threads    int
	Goroutines int
	RSS        int64 // resident memory without files and shared memory, in bytes
}

func (r Resources) String() string {
	return fmt.Sprintf("%d descriptors, %d threads, %d goroutines, %.1f MiB resident", r.Files, r.Threads, r.Goroutines, float64(r.RSS)/(1<<20))
}

// ResourcesNow counts, after a garbage collection that gives back what it can.
func ResourcesNow(t testing.TB) Resources {
	t.Helper()
	debug.FreeOSMemory()
	r := Resources{Files: count(t, "/proc/self/fd"), Threads: count(t, "/proc/self/task"), Goroutines: runtime.NumGoroutine()}
	var err error
	if r.RSS, err = ProcessMemory(os.Getpid(), "RssAnon"); err != nil {
		t.Fatal(err)
	}
	return r
}

func count(t testing.TB, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// NothingGrew fails the test if this process holds more than it did before by
// more than slack, also a moment later: what ended may still be on its way out.
func NothingGrew(t testing.TB, before, slack Resources) {
	t.Helper()
	var now Resources
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		now = ResourcesNow(t)
		if now.Files <= before.Files+slack.Files && now.Threads <= before.Threads+slack.Threads &&
			now.Goroutines <= before.Goroutines+slack.Goroutines && now.RSS <= before.RSS+slack.RSS {
			t.Logf("before: %v; now: %v", before, now)
			return
		}
	}
	stacks := make([]byte, 64<<10)
	t.Errorf("before: %v; now: %v; goroutines:\n%s", before, now, stacks[:runtime.Stack(stacks, true)])
}
