package kvm

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/holtvm/holt/internal/kvmapi"
)

// exitCount counts a vCPU's exits by reason.
type exitCount [kvmapi.ExitMemoryFault + 1]atomic.Uint64

func (e *exitCount) add(reason kvmapi.ExitReason) {
	if int64(reason) < int64(len(e)) { // others end the machine
		e[reason].Add(1)
	}
}

// addTo adds what was counted to kinds.
func (e *exitCount) addTo(kinds map[string]uint64) {
	for reason := range e {
		if n := e[reason].Load(); n > 0 {
			kinds[strings.ReplaceAll(kvmapi.ExitReason(reason).String(), " ", "_")] += n
		}
	}
}

// counters adds up what KVM counted of the vCPUs, by its names (api.rst, 4.133:
// "exits" is all of them, "io_exits" and "mmio_exits" those that came to us). It is
// empty on kernels before 5.14, which do not tell.
func (m *machine) counters() (map[string]uint64, error) {
	total := map[string]uint64{}
	for _, c := range m.vcpus {
		if c.stats == nil {
			continue
		}
		one, err := kvmapi.ReadStats(c.stats)
		if err != nil {
			return nil, err
		}
		for name, n := range one {
			total[name] += n
		}
	}
	return total, nil
}

// exitKinds are the counters of exits of one kind, by the kind's name.
func exitKinds(counters map[string]uint64) map[string]uint64 {
	kinds := map[string]uint64{}
	for name, n := range counters {
		if kind, ok := strings.CutSuffix(name, "_exits"); ok {
			kinds[kind] = n
		}
	}
	return kinds
}

// logExits writes what KVM counted to the log, for people who look into a guest's
// speed.
func (m *machine) logExits() {
	if !m.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	total, err := m.counters()
	if err != nil {
		m.log.Debug("exits cannot be counted", "error", err)
		return
	}
	var words []any
	for _, name := range slices.Sorted(maps.Keys(total)) {
		if total[name] != 0 {
			words = append(words, name, total[name])
		}
	}
	m.log.Debug("what the vCPUs did", words...)
}
