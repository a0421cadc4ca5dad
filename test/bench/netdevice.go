package main

import (
	"io"
	"log/slog"
	"net/netip"

	"github.com/holtvm/holt/internal/usernet"
	"github.com/holtvm/holt/internal/usernet/policy"
	"github.com/holtvm/holt/internal/virtio"
	vnet "github.com/holtvm/holt/internal/virtio/net"
)

// newNetwork makes our card and the network behind it, for the guest with an
// address.
func newNetwork(address string, log *slog.Logger) (virtio.Device, io.Closer, error) {
	prefix, err := netip.ParsePrefix(address)
	if err != nil {
		return nil, nil, err
	}
	plan, err := usernet.Plan(prefix)
	if err != nil {
		return nil, nil, err
	}
	network, err := usernet.New(usernet.Config{
		Address: prefix,
		Policy:  policy.New(policy.ModeLocal, nil, policy.Options{}),
		Logger:  log,
	})
	if err != nil {
		return nil, nil, err
	}
	return vnet.New([6]byte(plan.GuestMAC), usernet.DefaultMTU, network, log), network, nil
}
