package vmtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Times is how often or how much a test does something: all of it in `make soak`, which
// sets HOLT_SOAK, or else the share that is cheap enough for every change.
func Times(all, share int) int {
	if os.Getenv("HOLT_SOAK") != "" {
		return all
	}
	return share
}

// Held is what another process holds.
type Held struct {
	Files, Threads int
	Memory         int64 // resident, its own, in bytes
}

// String shows it in a log.
func (h Held) String() string {
	return fmt.Sprintf("%d descriptors, %d threads, %.1f MiB", h.Files, h.Threads, float64(h.Memory)/(1<<20))
}

// HeldBy counts what a process holds.
func HeldBy(t testing.TB, pid int) Held {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/", pid)
	memory, err := ProcessMemory(pid, "RssAnon")
	if err != nil {
		t.Fatal(err)
	}
	return Held{count(t, dir+"fd"), count(t, dir+"task"), memory}
}

// Seed begins random numbers: it is HOLT_SEED, or a new one. The test's log says which.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("HOLT_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("HOLT_SEED: %v", err)
		}
	}
	t.Logf("HOLT_SEED=%d", seed)
	return seed
}
