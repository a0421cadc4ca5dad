package main

import (
	"context"
	"net/netip"
	"slices"

	"github.com/holtvm/holt/internal/usernet"
)

const netGoal = ">= 2.0" // of QEMU's own network

// What the guest is to measure.
const (
	netToHost    = "to-host"   // one connection
	netToGuest   = "to-guest"  // one connection
	netRequests  = "requests"  // a connection for each
	netExchanges = "exchanges" // all on one connection
)

// guestNetwork is the guest's address. The program guest has it too, and that of
// the host's loopback, which for our network is the second of the network.
var guestNetwork = netip.MustParsePrefix("10.0.2.15/24")

// passtMTU is the largest that passt takes; QEMU's own network has 1500.
const passtMTU = 65520

// network compares our network with QEMU's own and with passt, where it is
// installed: the same guest on the same QEMU, with this process as its peer on
// the host's loopback.
func (b *bench) network(ctx context.Context) ([]result, error) {
	peer, err := startNetPeer()
	if err != nil {
		return nil, err
	}
	defer peer.close()
	settings := map[string]int{"MIB": 512, "OPS": 5000}
	if b.short {
		settings = map[string]int{"MIB": 32, "OPS": 200}
	}
	settings["PORT"] = peer.port
	c := contest{name: "net", prefix: "net-"}
	c.work, err = b.guestWork(ctx, "net", settings, []workload{
		{netToHost, "MB/s"},
		{netToGuest, "MB/s"},
		{netRequests, "/s"},
		{netExchanges, "/s"},
	}, "net")
	if err != nil {
		return nil, err
	}
	plan, err := usernet.Plan(guestNetwork)
	if err != nil {
		return nil, err
	}
	ours, slirp, passt := b.netSides(plan)
	c.sides = []*side{ours, slirp}
	if passt != nil {
		c.sides = append(c.sides, passt)
	} else {
		progress("net: passt is not installed")
	}
	if err := c.hold(ctx, b, b.count(5, 1)); err != nil {
		return nil, err
	}
	var results []result
	for _, other := range c.sides[1:] {
		rates := c.compareRates(noGoal, ours, other)
		for i := range rates {
			if other == slirp && rates[i].Name != c.prefix+netExchanges {
				rates[i].Goal = netGoal
			}
		}
		results = slices.Concat(results, rates, c.compareCPU(ours, other), c.compareGuest(ours, other))
	}
	return results, nil
}
