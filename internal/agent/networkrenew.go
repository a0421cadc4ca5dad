package agent

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// renewNetwork makes the interface with the hardware address oldMAC, which is as old
// says, what n says, its hardware address too. That may have been done already.
func renewNetwork(oldMAC [6]byte, old, n agentproto.Network, procNet string) error {
	mac, err := n.HardwareAddr()
	if err != nil {
		return err
	}
	s, err := openNetlink()
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := s.awaitLink(oldMAC, 0)
	if err == nil && l.index == 0 {
		l, err = s.awaitLink(mac, 0)
	}
	if err != nil {
		return err
	}
	if l.index == 0 {
		return fmt.Errorf("this guest has no network interface with the address %x or %s", oldMAC, n.MAC)
	}
	if err := s.do(macRequest(l.index, mac), nil); err != nil {
		return fmt.Errorf("give %s the address %s: %w", l.name, n.MAC, err)
	}
	return configure(s, l, old, n, procNet)
}

// forget takes away what old has and n has not. What is gone already is no error, nor
// IPv6 that the kernel does not have.
func forget(s *rtnetlink, l netLink, old, n agentproto.Network) error {
	gone := []error{nil, unix.EADDRNOTAVAIL, unix.ESRCH, unix.EOPNOTSUPP}
	for _, g := range old.Gateways {
		if slices.Contains(n.Gateways, g) {
			continue
		}
		if err := s.do(forgetRouteRequest(l.index, g), nil); !slices.Contains(gone, err) {
			return fmt.Errorf("take away the default route through %s: %w", g, err)
		}
	}
	for _, a := range old.Addresses {
		if slices.Contains(n.Addresses, a) {
			continue
		}
		if err := s.do(forgetAddressRequest(l.index, a), nil); !slices.Contains(gone, err) {
			return fmt.Errorf("take the address %s from %s: %w", a, l.name, err)
		}
	}
	return nil
}

// macRequest changes an interface's hardware address. Linux's virtio-net driver takes one
// at any time; others would have to be set down.
func macRequest(index int32, mac [6]byte) *netlinkRequest {
	return newRequest(unix.RTM_NEWLINK, 0, ifInfo(index, 0, 0)).attr(unix.IFLA_ADDRESS, mac[:])
}

func forgetAddressRequest(index int32, p netip.Prefix) *netlinkRequest {
	body := native.AppendUint32([]byte{family(p.Addr()), byte(p.Bits()), 0, 0}, uint32(index))
	return newRequest(unix.RTM_DELADDR, 0, body).attr(unix.IFA_LOCAL, p.Addr().AsSlice())
}

func forgetRouteRequest(index int32, gateway netip.Addr) *netlinkRequest {
	return newRequest(unix.RTM_DELROUTE, 0, routeBody(gateway, 0)).
		attr(unix.RTA_GATEWAY, gateway.AsSlice()).
		attrUint32(unix.RTA_OIF, uint32(index))
}
