package main

import (
	"cmp"
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// The contenders where KVM works. All have the same kernel, 256 MiB and one vCPU.
// The first two do the same work in the guest, and so do the other two.
const (
	holtRun     = "holt run"                                                           // agent, shared directory, then the program
	holtOnQEMU  = "holt run, its devices over vhost-user to QEMU's microvm with KVM"   // the same on the other monitor
	ourMachine  = "our monitor, nothing but the program as init"                       // what our VMM and the kernel take
	qemuMachine = "QEMU's microvm with KVM and qboot, nothing but the program as init" // the same on QEMU
)

// guestMemory is what the guests of the KVM benchmarks have, in bytes.
const guestMemory = 256 << 20

const kvmGoal = "<= 0.8"

// kvmWork is what the part of a benchmark that needs KVM is told.
type kvmWork struct {
	Benchmarks []string `json:"benchmarks"` // whose turns each round consists of
	Rounds     int      `json:"rounds"`
	Cold       bool     `json:"cold"`      // without a round before them
	Seconds    int      `json:"seconds"`   // of idleness
	Holt       string   `json:"holt"`      // binary
	Data       string   `json:"data"`      // Holt's directory with the kernel
	Image      string   `json:"image"`     // the kernel's
	Initramfs  string   `json:"initramfs"` // with the program as init
	Root       string   `json:"root"`      // with the program as /hello
	Commands   string   `json:"commands"`  // a root directory with /bin/true and others; "" where none is needed
	Outer      bool     `json:"outer"`     // in an outer VM
}

// name is that of the benchmarks, for people.
func (w kvmWork) name() string { return strings.Join(w.Benchmarks, ", ") }

// figures are what a contender was measured to take, by the names that the
// benchmark gives them.
type figures map[string]float64

// round is one turn of each contender.
type round map[string]figures

// work describes n rounds of benchmarks.
func (b *bench) work(n int, benchmarks ...string) (kvmWork, error) {
	w := kvmWork{Benchmarks: benchmarks, Rounds: n, Holt: b.holt, Data: b.dirs.Data, Image: b.kernel.ImagePath()}
	var err error
	if w.Root, err = b.helloRoot(); err != nil {
		return w, err
	}
	w.Initramfs, err = b.helloInitramfs()
	return w, err
}

// kvmStart compares the time from a command to the program's first byte.
func (b *bench) kvmStart(ctx context.Context) ([]result, error) {
	rounds, err := b.kvmRounds(ctx, "kvm-start", b.count(11, 2))
	if err != nil {
		return nil, err
	}
	return []result{
		rounds.compare("kvm-start", "ms", kvmGoal, holtRun, holtOnQEMU, "time"),
		rounds.compare("kvm-start-machine", "ms", kvmGoal, ourMachine, qemuMachine, "time"),
		// The peer does less: it has no agent and no shared directory.
		rounds.compare("kvm-start-bare", "ms", noGoal, holtRun, qemuMachine, "time"),
	}, nil
}

// kvmExits compares how often the guest was left until that byte.
func (b *bench) kvmExits(ctx context.Context) ([]result, error) {
	rounds, err := b.kvmRounds(ctx, "kvm-exits", b.count(5, 1))
	if err != nil {
		return nil, err
	}
	var results []result
	for _, pair := range []struct{ name, ours, peer string }{
		{"kvm-exits", holtRun, holtOnQEMU},
		{"kvm-exits-machine", ourMachine, qemuMachine},
	} {
		results = append(results,
			rounds.compare(pair.name, "exits", kvmGoal, pair.ours, pair.peer, exitsInAll),
			rounds.compare(pair.name+"-to-user", "exits", kvmGoal, pair.ours, pair.peer, exitsToUser))
		for _, kind := range rounds.kinds(pair.ours, pair.peer) {
			results = append(results, rounds.compare(pair.name+" "+kind, "exits", noGoal, pair.ours, pair.peer, kind))
		}
	}
	return results, nil
}

// kvmMemory compares what the monitors take beyond the guest's memory.
func (b *bench) kvmMemory(ctx context.Context) ([]result, error) {
	const goal, limit = "<= 0.5", 12 // MiB
	rounds, err := b.kvmRounds(ctx, "kvm-memory", b.count(5, 1))
	if err != nil {
		return nil, err
	}
	qemuRSS := rounds.series(qemuMachine, "rss")
	monitor := rounds.series(holtRun, "monitor rss")
	return []result{
		compare("kvm-memory", "MiB", goal, qemuMachine, monitor, qemuRSS),
		compare("kvm-memory-limit", "MiB", "<= 1.0", "what a monitor may take", monitor, []float64{limit}),
		compare("kvm-memory-client", "MiB", noGoal, qemuMachine, rounds.series(holtRun, "client rss"), qemuRSS),
		// What the client shares with its monitor counts half in each.
		compare("kvm-memory-both", "MiB", goal, qemuMachine, rounds.series(holtRun, "both pss"), rounds.series(qemuMachine, "pss")),
	}, nil
}

// roundList is all rounds of a benchmark.
type roundList []round

// kvmRounds has n rounds of a benchmark run.
func (b *bench) kvmRounds(ctx context.Context, benchmark string, n int) (roundList, error) {
	w, err := b.work(n, benchmark)
	if err != nil {
		return nil, err
	}
	return b.runRounds(ctx, w)
}

// runRounds has the rounds of w run, here or in an outer VM.
func (b *bench) runRounds(ctx context.Context, w kvmWork) (roundList, error) {
	if b.kvm.Usable {
		var rounds roundList
		err := measureInside(ctx, w, filepath.Join(b.temp, "home"), func(r round) error {
			rounds = append(rounds, r)
			return nil
		})
		return rounds, err
	}
	return b.outerRounds(ctx, w)
}

func (l roundList) series(contender, figure string) []float64 {
	var list []float64
	for _, r := range l {
		list = append(list, r[contender][figure])
	}
	return list
}

func (l roundList) compare(name, unit, goal, ours, peer, figure string) result {
	return compare(name, unit, goal, peer, l.series(ours, figure), l.series(peer, figure))
}

// rare is the number of exits below which a kind is not worth a line.
const rare = 10

// kinds are the figures besides the sums and what is rare, the most frequent
// first.
func (l roundList) kinds(ours, peer string) []string {
	most := func(kind string) float64 {
		return max(median(l.series(ours, kind)), median(l.series(peer, kind)))
	}
	all := map[string]bool{}
	for _, r := range l {
		for _, contender := range []string{ours, peer} {
			for kind := range r[contender] {
				all[kind] = kind != exitsInAll && kind != exitsToUser && most(kind) >= rare
			}
		}
	}
	maps.DeleteFunc(all, func(_ string, show bool) bool { return !show })
	return slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(most(b), most(a)), cmp.Compare(a, b))
	})
}
