package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/holtvm/holt/internal/vmtest"
)

// pulse is the least processor time that a guest takes in patience. An idle one
// under emulation takes 20 ms and more, for its timers; a stuck one nothing.
const pulse = 4 * time.Millisecond

// standsStill watches a process and all below it. It returns true when they
// have used less than pulse for patience, false when ctx is done.
func standsStill(ctx context.Context, pid int) bool {
	return standsStillFor(ctx, func() time.Duration { return treeTime(pid) }, patience)
}

func standsStillFor(ctx context.Context, used func() time.Duration, patience time.Duration) bool {
	const looks = 20 // are counted, not timed: this process may stand still, too
	tick := time.NewTicker(patience / looks)
	defer tick.Stop()
	last := used()
	for still := 0; still < looks; still++ {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		// A process that ends takes its time out of the sum.
		if now := used(); (now - last).Abs() >= pulse {
			last, still = now, -1
		}
	}
	return true
}

// treeTime is the processor time that pid and the processes below it have used.
func treeTime(pid int) time.Duration {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		// pid (name) state parent …; the name may have anything in it.
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(string(fields[1])); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	var total time.Duration
	for tree := []int{pid}; len(tree) > 0; tree = tree[1:] {
		total += processTime(tree[0])
		tree = append(tree, children[tree[0]]...)
	}
	return total
}

// processTime is what a process has used, 0 if there is none.
func processTime(pid int) time.Duration {
	used, err := vmtest.ProcessTime(pid)
	if err != nil {
		return 0
	}
	return used
}
