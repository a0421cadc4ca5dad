package usernet

import (
	"log/slog"
	"net/netip"

	"github.com/holtvm/holt/internal/usernet/policy"
)

// The loopback addresses that the host's address stands for.
var (
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopback6 = netip.IPv6Loopback()
)

// Why the guest's own network refuses.
const (
	reasonNoService = "no such service" // of the gateway
	reasonNobody    = "no such machine" // others than guest, gateway and host there are none
)

// resolve returns where on the host's networks dst is, and whether the guest may
// reach that. It counts what is refused.
func (n *Network) resolve(protocol policy.Protocol, dst netip.AddrPort) (netip.AddrPort, policy.Verdict) {
	a := dst.Addr().Unmap()
	switch {
	case n.layout.gateway(a):
		n.counters.noService.Add(1)
		return dst, policy.Verdict{Reason: reasonNoService}
	case a == n.layout.Host4:
		a = loopback4
	case a == n.layout.Host6:
		a = loopback6
	case n.layout.neighbor(a):
		n.counters.nobody.Add(1)
		return dst, policy.Verdict{Reason: reasonNobody}
	}
	target := netip.AddrPortFrom(a, dst.Port())
	return target, n.policy.Check(protocol, target)
}

// denied logs that a target was refused.
func (n *Network) denied(protocol policy.Protocol, dst netip.AddrPort, reason string) {
	n.log.Debug("denied", slog.Any("protocol", protocol), slog.Any("target", dst), slog.String("reason", reason))
}

// failed counts and logs that a target could not be reached.
func (n *Network) failed(protocol policy.Protocol, dst netip.AddrPort, err error) {
	n.counters.failed.Add(1)
	n.log.Debug("cannot connect", slog.Any("protocol", protocol), slog.Any("target", dst), slog.Any("error", err))
}

// dnsService reports whether dst is where DNS is served.
func (n *Network) dnsService(dst netip.AddrPort) bool {
	return n.dns != nil && dst.Port() == dnsPort && n.layout.gateway(dst.Addr())
}
