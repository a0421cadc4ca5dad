package kvm

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"github.com/holtvm/holt/internal/kvmapi"
)

// exits counts what the vCPUs left the guest for, by KVM's names (api.rst, 4.133:
// "exits" is all of them, "io_exits" and "mmio_exits" those that came to us).
// Kernels before 5.14 do not tell.
func (m *machine) exits() (map[string]uint64, error) {
	total := map[string]uint64{}
	for _, c := range m.vcpus {
		f, err := c.api.StatsFD()
		if err != nil {
			return nil, err
		}
		one, err := kvmapi.ReadStats(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		for name, n := range one {
			total[name] += n
		}
	}
	return total, nil
}

// logExits writes what exits says to the log, for people who look into a guest's
// speed.
func (m *machine) logExits() {
	if !m.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	total, err := m.exits()
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
