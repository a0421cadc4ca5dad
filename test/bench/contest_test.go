package main

import (
	"maps"
	"testing"
)

func TestCompareContest(t *testing.T) {
	ours := &side{
		rates: map[string][]float64{"read": {10, 30}, "sync": {100, 100}},
		cpu:   map[string][]float64{"read": {0.001, 0.003}, "sync": {2e-6, 4e-6}},
	}
	peer := &side{
		name:  "peer",
		rates: map[string][]float64{"read": {10, 10}, "sync": {400, 400}},
		cpu:   map[string][]float64{"read": {0.001, 0.001}, "sync": {1e-6, 1e-6}},
	}
	c := contest{prefix: "x-", work: guestWork{workloads: []workload{{"read", "MB/s"}, {"sync", "ops/s"}}}}
	type row struct {
		unit          string
		ours, peer, r float64
	}
	got := map[string]row{}
	for _, r := range append(c.compareRates(">= 2.0", ours, peer), c.compareCPU(ours, peer)...) {
		if r.PeerName != "peer" || r.Runs != 2 {
			t.Errorf("%+v", r)
		}
		got[r.Name] = row{r.Unit, r.Ours, r.Peer, r.Ratio}
	}
	want := map[string]row{
		"x-read":     {"MB/s", 20, 10, 2},
		"x-sync":     {"ops/s", 100, 400, 0.25},
		"x-read-cpu": {"s/GB", 2, 1, 2},
		"x-sync-cpu": {"µs each", 3, 1, 3},
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if ours.cpu["read"][0] != 0.001 {
		t.Error("a side's figures have changed")
	}
}
