package main

import (
	"context"
	"slices"

	"github.com/holtvm/holt/internal/vmtest"
)

const (
	clonesName = "kvm-clones"
	// acquireLimit is the goal for a pool that has an idle VM to hand it out, in ms.
	acquireLimit = 0.2
	// forkLimit is the goal for what an idle fork has for itself, in MiB.
	forkLimit = 3
)

// The ways to a guest that has answered. Ours have the same machine and root
// directory, and answer by running a command.
const (
	coldBoot     = "a boot"
	restored     = "holt.Restore"
	prefetched   = "holt.Restore with Prefetch"
	forked       = "vm.Fork"
	pooled       = "pool.Acquire"
	qemuRestored = "QEMU's microvm with KVM, restored from a file"
)

// Figures of clones: times in ms, numbers, and memory in MiB.
const (
	startTime   = "start"   // until our call returned
	answerTime  = "answer"  // until the guest answered
	answerExits = "exits"   // until then
	acquireTime = "acquire" // of Acquire alone, and of Release
	forkGuest   = "guest pages"
	forkMonitor = "monitor"
	forkProgram = "program"
)

// kvmClones compares what it takes until a guest answers: one that goes on where another
// was saved, one that boots, and one of QEMU's that goes on.
func (b *bench) kvmClones(ctx context.Context) ([]result, error) {
	w, err := b.work(b.count(11, 1), clonesName)
	if err == nil {
		w.Commands, err = vmtest.MakeSSHRoot(ctx)
	}
	if err != nil {
		return nil, err
	}
	w.Cold = b.short
	rounds, err := b.runRounds(ctx, w)
	if err != nil {
		return nil, err
	}
	return rounds.cloneResults(), nil
}

func (l roundList) cloneResults() []result {
	limit := []float64{forkLimit}
	kinds := [][]float64{l.series(forked, forkGuest), l.series(forked, forkMonitor), l.series(forked, forkProgram)}
	memory := slices.Clone(kinds[0])
	for i := range memory {
		memory[i] += kinds[1][i] + kinds[2][i]
	}
	const mayHave = "what an idle fork may have for itself"
	return []result{
		l.compare("kvm-restore", "ms", "<= 0.1", restored, coldBoot, answerTime),
		l.compare("kvm-restore-start", "ms", noGoal, restored, coldBoot, startTime),
		// An outer VM takes 30 times as long for an exit as a processor does.
		l.compare("kvm-restore-exits", "exits", noGoal, restored, coldBoot, answerExits),
		l.compare("kvm-restore-prefetch", "ms", noGoal, prefetched, coldBoot, answerTime),
		l.compare("kvm-fork", "ms", noGoal, forked, coldBoot, answerTime),
		l.compare("kvm-fork-start", "ms", noGoal, forked, coldBoot, startTime),
		l.compare("kvm-pool", "ms", noGoal, pooled, coldBoot, answerTime),
		compare("kvm-pool-acquire", "ms", "<= 1.0", "what an idle VM may take to be handed out", l.series(pooled, acquireTime), []float64{acquireLimit}),
		l.compare("kvm-restore-qemu", "ms", "<= 0.5", restored, qemuRestored, answerTime),
		// Like for like: when Restore returns, a program that was saved has answered, too,
		// and no other one was started.
		compare("kvm-restore-start-qemu", "ms", noGoal, qemuRestored, l.series(restored, startTime), l.series(qemuRestored, answerTime)),
		compare("kvm-fork-memory", "MiB", "<= 1.0", mayHave, memory, limit),
		compare("kvm-fork-memory-guest", "MiB", noGoal, mayHave, kinds[0], limit),
		compare("kvm-fork-memory-monitor", "MiB", noGoal, mayHave, kinds[1], limit),
		compare("kvm-fork-memory-program", "MiB", noGoal, mayHave, kinds[2], limit),
	}
}
