package main

import (
	"maps"
	"strings"
	"testing"
)

func TestSumUnique(t *testing.T) {
	const table = `55d0c0000000-55d0c0400000 r-xp 00000000 08:01 12 /usr/local/bin/holt
Size:               4096 kB
Rss:                2048 kB
Private_Clean:       512 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
7f0000000000-7f0010000000 rw-p 00000000 00:01 7 /memfd:guest-memory (deleted)
Size:             262144 kB
Private_Clean:      9999 kB
Private_Dirty:       768 kB
Anonymous:           512 kB
c000000000-c000400000 rw-p 00000000 00:00 0
Size:               4096 kB
Private_Dirty:      1024 kB
Private_Hugetlb:    2048 kB
Anonymous:          1024 kB
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]
Private_Dirty:       256 kB
`
	want := figures{forkGuest: 0.5, forkMonitor: 1.25, forkProgram: 0.5}
	if got, err := sumUnique(strings.NewReader(table)); err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for what, text := range map[string]string{
		"no mapping":   "",
		"a bad number": "c000000000-c000400000 rw-p 00000000 00:00 0\nPrivate_Dirty: many kB\n",
	} {
		if got, err := sumUnique(strings.NewReader(text)); err == nil {
			t.Errorf("a table with %s has %v", what, got)
		}
	}
}

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
