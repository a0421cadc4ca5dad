package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

const (
	// deviceTimeout is how long a device may take to appear. Usually it is there
	// when its driver is.
	deviceTimeout = 5 * time.Second
	// carrierTimeout is how long the interface may take to have a link. What is
	// sent earlier is lost.
	carrierTimeout = time.Second
)

// setUpNetwork gives the interface with n's hardware address what n says. procNet is
// /proc/sys/net. The guest can send when it returns.
func setUpNetwork(n agentproto.Network, procNet string) error {
	mac, err := n.HardwareAddr()
	if err != nil {
		return err
	}
	s, err := openNetlink()
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := s.awaitLink(mac, deviceTimeout)
	if err != nil {
		return err
	}
	if l.index == 0 {
		return fmt.Errorf("this guest has no network interface with the address %s: "+
			"the machine lacks a virtio-net device, or the kernel its driver (virtio_net)", n.MAC)
	}
	return configure(s, l, agentproto.Network{}, n, procNet)
}

// configure gives l what n says, in the place of what old says.
func configure(s *rtnetlink, l netLink, old, n agentproto.Network, procNet string) error {
	ipv6, err := quietIPv6(filepath.Join(procNet, "ipv6/conf", l.name))
	if err != nil {
		return err
	}
	if err := forget(s, l, old, n); err != nil {
		return err
	}
	if err := s.do(upRequest(l.index, n.MTU), nil); err != nil {
		return fmt.Errorf("set %s up with an MTU of %d: %w", l.name, n.MTU, err)
	}
	for _, a := range n.Addresses {
		if a.Addr().Is6() && !ipv6 {
			continue
		}
		if err := s.do(addressRequest(l.index, a), nil); err != nil {
			return fmt.Errorf("give %s the address %s: %w", l.name, a, err)
		}
	}
	for _, g := range n.Gateways {
		if g.Is6() && !ipv6 {
			continue
		}
		if err := s.do(routeRequest(l.index, g, n.Addresses), nil); err != nil {
			return fmt.Errorf("set the default route through %s: %w", g, err)
		}
	}
	// Whoever has root in here may ping; so may everybody else.
	if err := writeSysctl(filepath.Join(procNet, "ipv4/ping_group_range"), "0 2147483647"); err != nil {
		complain("allow ping: %v", err)
	}
	return s.awaitCarrier(l, carrierTimeout)
}

// quietIPv6 makes IPv6 on an interface take no time: it looks for no router and for
// no other owner of its link-local address. It says whether there is IPv6 at all.
func quietIPv6(conf string) (bool, error) {
	off, err := os.ReadFile(filepath.Join(conf, "disable_ipv6"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, name := range []string{"accept_ra", "accept_dad"} {
		if err := writeSysctl(filepath.Join(conf, name), "0"); err != nil {
			return false, err
		}
	}
	return strings.TrimSpace(string(off)) == "0", nil
}

func writeSysctl(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// netLink is a network interface.
type netLink struct {
	index int32
	name  string
	mac   string // its bytes
	flags uint32 // unix.IFF_*
}

// parseLink decodes an RTM_NEWLINK message: a struct ifinfomsg and attributes.
func parseLink(body []byte) (l netLink, ok bool) {
	if len(body) < unix.SizeofIfInfomsg {
		return l, false
	}
	l.index, l.flags = int32(native.Uint32(body[4:])), native.Uint32(body[8:])
	attributes(body[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.IFLA_ADDRESS:
			l.mac = string(value)
		case unix.IFLA_IFNAME:
			l.name = unix.ByteSliceToString(value)
		}
	})
	return l, true
}

// awaitLink finds the interface with a hardware address. It waits for it, since its
// driver may have been loaded just now, and returns a zero netLink in the end.
func (n *rtnetlink) awaitLink(mac [6]byte, most time.Duration) (netLink, error) {
	for end := time.Now().Add(most); ; time.Sleep(time.Millisecond) {
		var links []netLink
		r := newRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP, ifInfo(0, 0, 0))
		err := n.do(r, func(body []byte) {
			if l, ok := parseLink(body); ok {
				links = append(links, l)
			}
		})
		if err != nil {
			return netLink{}, fmt.Errorf("list network interfaces: %w", err)
		}
		if i := slices.IndexFunc(links, func(l netLink) bool { return l.mac == string(mac[:]) }); i >= 0 {
			return links[i], nil
		}
		if time.Now().After(end) {
			return netLink{}, nil
		}
	}
}

// awaitCarrier waits until l can send, or until it has waited for most: a link that
// stays down is the host's affair.
func (n *rtnetlink) awaitCarrier(l netLink, most time.Duration) error {
	for end := time.Now().Add(most); l.flags&unix.IFF_LOWER_UP == 0 && time.Now().Before(end); {
		err := n.do(newRequest(unix.RTM_GETLINK, 0, ifInfo(l.index, 0, 0)), func(body []byte) {
			if got, ok := parseLink(body); ok {
				l = got
			}
		})
		if err != nil {
			return fmt.Errorf("wait for the link of %s: %w", l.name, err)
		}
		if l.flags&unix.IFF_LOWER_UP == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// ifInfo is a struct ifinfomsg.
func ifInfo(index int32, flags, change uint32) []byte {
	b := make([]byte, 4, unix.SizeofIfInfomsg) // family and type: any
	b = native.AppendUint32(b, uint32(index))
	b = native.AppendUint32(b, flags)
	return native.AppendUint32(b, change)
}

func upRequest(index int32, mtu int) *netlinkRequest {
	return newRequest(unix.RTM_NEWLINK, 0, ifInfo(index, unix.IFF_UP, unix.IFF_UP)).
		attrUint32(unix.IFLA_MTU, uint32(mtu))
}

// addressRequest adds an address, with a struct ifaddrmsg. An IPv6 address would be
// of no use for a second or so if the kernel first asked who else has it.
func addressRequest(index int32, p netip.Prefix) *netlinkRequest {
	a := p.Addr()
	flags := byte(0)
	if a.Is6() {
		flags = unix.IFA_F_NODAD
	}
	scope := byte(unix.RT_SCOPE_UNIVERSE)
	if a.IsLinkLocalUnicast() {
		scope = unix.RT_SCOPE_LINK
	}
	body := native.AppendUint32([]byte{family(a), byte(p.Bits()), flags, scope}, uint32(index))
	r := newRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, body).
		attr(unix.IFA_LOCAL, a.AsSlice()).
		attr(unix.IFA_ADDRESS, a.AsSlice())
	if a.Is4() && p.Bits() < 31 { // shorter networks have none (RFC 3021)
		r.attr(unix.IFA_BROADCAST, broadcast(p))
	}
	return r
}

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) []byte {
	a := p.Addr().As4()
	return binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(a[:])|(1<<(32-p.Bits())-1))
}

// routeRequest sets the default route of the gateway's IP version. A gateway outside of
// the guest's networks is said to be on the link.
func routeRequest(index int32, gateway netip.Addr, networks []netip.Prefix) *netlinkRequest {
	flags := uint32(unix.RTNH_F_ONLINK)
	if slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(gateway) }) {
		flags = 0
	}
	return newRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, routeBody(gateway, flags)).
		attr(unix.RTA_GATEWAY, gateway.AsSlice()).
		attrUint32(unix.RTA_OIF, uint32(index))
}

// routeBody is the struct rtmsg of a default route, with flags of its next hop.
func routeBody(gateway netip.Addr, flags uint32) []byte {
	body := []byte{family(gateway), 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST}
	return native.AppendUint32(body, flags)
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
