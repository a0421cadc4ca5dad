package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// workTimeout is for one guest with all its workloads.
const workTimeout = 10 * time.Minute

// contest has the same guest do the same work with a device that several sides
// serve, in turns.
type contest struct {
	name   string
	prefix string // of the results' names
	work   guestWork
	sides  []*side
}

// side is one way to serve the device.
type side struct {
	name string // as tables show it
	// attach starts what serves the device, if QEMU does not.
	attach func() (attachment, error)

	rates map[string][]float64 // of each workload, units per second
	cpu   map[string][]float64 // of each workload, for the device per unit, s
	guest map[string][]float64 // the same of the vCPU
	whole []float64            // processor time of the server's process, s
}

// hold has every side run n guests.
func (c *contest) hold(ctx context.Context, b *bench, n int) error {
	width := 0
	for _, s := range c.sides {
		s.rates, s.cpu, s.guest = map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
		width = max(width, len(s.name))
	}
	for i := range n {
		for _, s := range c.sides {
			if err := b.turn(ctx, s, c.work); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			progress("%s %d/%d  %-*s  %s", c.name, i+1, n, width, s.name, s.last(c.work.workloads))
		}
	}
	return nil
}

// turn boots a guest that does all workloads on a device that s serves.
func (b *bench) turn(ctx context.Context, s *side, work guestWork) error {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	a, err := s.attach()
	if err != nil {
		return err
	}
	if a.release != nil {
		defer a.release()
	}
	err = b.runGuest(ctx, a, work, func(m measured) {
		s.rates[m.name] = append(s.rates[m.name], m.amount/m.took.Seconds())
		s.cpu[m.name] = append(s.cpu[m.name], m.cpu.device.Seconds()/m.amount)
		s.guest[m.name] = append(s.guest[m.name], m.cpu.guest.Seconds()/m.amount)
	})
	if a.server == nil {
		return err
	}
	cpu, serr := a.server.finish()
	s.whole = append(s.whole, cpu.Round(time.Millisecond).Seconds())
	if err == nil {
		err = serr
	}
	return err
}

// last describes the last run.
func (s *side) last(workloads []workload) (text string) {
	for _, w := range workloads {
		rates, cpu := s.rates[w.name], s.cpu[w.name]
		rate := rates[len(rates)-1]
		text += fmt.Sprintf("%s %.0f %s (cpu %.0f%%)  ", w.name, rate, w.unit, 100*rate*cpu[len(cpu)-1])
	}
	return text
}

// compareRates compares two sides at all workloads.
func (c *contest) compareRates(goal string, ours, peer *side) []result {
	var results []result
	for _, w := range c.work.workloads {
		results = append(results, compare(c.prefix+w.name, w.unit, goal, peer.name, ours.rates[w.name], peer.rates[w.name]))
	}
	return results
}

// compareCPU compares what two sides cost the host at all workloads.
func (c *contest) compareCPU(ours, peer *side) []result {
	return c.compareTimes("-cpu", ours.cpu, peer.cpu, peer.name)
}

// compareGuest compares what the guest itself computed. It bounds what any device
// can make of the rates.
func (c *contest) compareGuest(ours, peer *side) []result {
	return c.compareTimes("-guest-cpu", ours.guest, peer.guest, peer.name)
}

func (c *contest) compareTimes(suffix string, ours, peer map[string][]float64, peerName string) []result {
	var results []result
	for _, w := range c.work.workloads {
		unit, factor := "µs each", 1e6
		if w.unit == "MB/s" {
			unit, factor = "s/GB", 1e3
		}
		scaled := func(list []float64) []float64 {
			list = slices.Clone(list)
			for i := range list {
				list[i] *= factor
			}
			return list
		}
		results = append(results, compare(c.prefix+w.name+suffix, unit, noGoal, peerName, scaled(ours[w.name]), scaled(peer[w.name])))
	}
	return results
}
