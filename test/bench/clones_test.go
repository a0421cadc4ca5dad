package main

import (
	"maps"
	"testing"
)

// TestCloneResults: each figure is its side's, and a fork's memory is that of all kinds.
func TestCloneResults(t *testing.T) {
	rounds := roundList{{
		coldBoot:     {startTime: 80, answerTime: 100, answerExits: 900},
		restored:     {startTime: 4, answerTime: 10, answerExits: 300},
		prefetched:   {startTime: 5, answerTime: 8},
		qemuRestored: {answerTime: 40},
		forked:       {startTime: 6, answerTime: 20, forkGuest: 1, forkMonitor: 0.5, forkProgram: 0.25},
		pooled:       {startTime: 0.1, answerTime: 3, acquireTime: 0.01},
	}}
	want := map[string][2]float64{
		"kvm-restore": {10, 100}, "kvm-restore-start": {4, 80}, "kvm-restore-exits": {300, 900}, "kvm-restore-prefetch": {8, 100},
		"kvm-fork": {20, 100}, "kvm-fork-start": {6, 80}, "kvm-pool": {3, 100}, "kvm-pool-acquire": {0.01, acquireLimit},
		"kvm-restore-qemu": {10, 40}, "kvm-restore-start-qemu": {4, 40}, "kvm-fork-memory": {1.75, forkLimit}, "kvm-fork-memory-guest": {1, forkLimit},
		"kvm-fork-memory-monitor": {0.5, forkLimit}, "kvm-fork-memory-program": {0.25, forkLimit},
	}
	got := map[string][2]float64{}
	for _, r := range rounds.cloneResults() {
		got[r.Name] = [2]float64{r.Ours, r.Peer}
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
