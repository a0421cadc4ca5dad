package monitor

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/usernet"
	"github.com/holtvm/holt/internal/usernet/dns"
	"github.com/holtvm/holt/internal/usernet/policy"
	vnet "github.com/holtvm/holt/internal/virtio/net"
)

// The host's loopback.
var (
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopback6 = netip.IPv6Loopback()
)

// Names that the guest has without asking any server.
const (
	hostName    = "host.holt.internal"
	gatewayName = "gateway.holt.internal"
)

// plugIn gives the machine a network card and the guest its addresses. From here
// on the host's side of the published ports is taken. A clone's card has an address
// of its own.
func (a *assembly) plugIn(spec Network, clone bool) error {
	log := a.log.With("device", "net")
	config, err := spec.config(log)
	if err != nil {
		return err
	}
	if spec.Capture != "" {
		f, err := os.OpenFile(spec.Capture, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return fmt.Errorf("packet_capture: %w", err)
		}
		a.closers = append(a.closers, f)
		config.Capture = f
	}
	if clone {
		config.MAC = randomMAC()
	}
	n, err := usernet.New(config)
	if err != nil {
		return err
	}
	guest := n.Guest()
	card := vnet.New([6]byte(guest.MAC), uint16(guest.MTU), n, log)
	a.network = &networkEnd{network: n, card: card, log: log}
	a.closers = append(a.closers, a.network)
	a.addDevice(card, "net")
	a.boot.Network = &agentproto.Network{
		MAC: guest.MAC.String(), MTU: guest.MTU,
		Addresses: guest.Addresses, Gateways: guest.Gateways, Nameservers: guest.Nameservers,
		Search: spec.search(dns.HostResolvConf),
	}
	for _, addr := range guest.Host {
		a.boot.Network.Hosts = append(a.boot.Network.Hosts, agentproto.HostEntry{Addr: addr, Names: []string{hostName}})
	}
	return nil
}

// mac is the address of the network card, or nothing.
func (a *assembly) mac() string {
	if a.boot.Network == nil {
		return ""
	}
	return a.boot.Network.MAC
}

// search are the domains in which the guest looks for short names: the host's, if
// it is the host's resolver that the guest may ask.
func (n Network) search(resolvConf string) []string {
	if mode, err := policy.ParseMode(n.Mode); err != nil || mode == policy.ModeLocal || len(n.DNS) > 0 {
		return nil
	}
	// The agent takes no others, and no more.
	valid := slices.DeleteFunc(dns.SearchDomains(resolvConf), func(domain string) bool { return !agentproto.ValidName(domain) })
	return valid[:min(len(valid), agentproto.MaxAddresses)]
}

// config translates n for usernet.
func (n Network) config(log *slog.Logger) (usernet.Config, error) {
	var errs []error
	mode, err := policy.ParseMode(n.Mode)
	errs = append(errs, err)
	var rules []policy.Rule
	for _, text := range n.Rules {
		rule, err := policy.ParseRule(text)
		errs = append(errs, err)
		rules = append(rules, rule)
	}
	layout, err := usernet.Plan(n.Address)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return usernet.Config{}, err
	}
	p := policy.New(mode, rules, policy.Options{Names: map[string][]netip.Addr{hostName: {loopback4, loopback6}}})
	return usernet.Config{
		Address: n.Address,
		Policy:  p,
		DNS: dns.New(dns.Config{
			Local: map[string][]netip.Addr{
				hostName:    {layout.Host4, layout.Host6},
				gatewayName: {layout.Gateway4, layout.Gateway6},
			},
			Upstream: n.DNS,
			Policy:   p,
			Logger:   log,
		}),
		Forwards: n.forwards(mode == policy.ModeLocal),
		Logger:   log,
	}, nil
}

// forwards are the published ports. Those without an address are on the loopback
// alone if the network is local.
func (n Network) forwards(local bool) []usernet.Forward {
	everywhere := []netip.Addr{{}}
	if local {
		everywhere = loopbacks()
	}
	var list []usernet.Forward
	for _, p := range n.Ports {
		protocol, hosts := policy.TCP, everywhere
		if p.UDP {
			protocol = policy.UDP
		}
		if p.HostIP.IsValid() {
			hosts = []netip.Addr{p.HostIP}
		}
		for _, host := range hosts {
			list = append(list, usernet.Forward{Protocol: protocol, Host: netip.AddrPortFrom(host, p.Host), GuestPort: p.Guest})
		}
	}
	return list
}

// loopbacks are the addresses of the host's loopback: a host may have no IPv6.
func loopbacks() []netip.Addr {
	list := []netip.Addr{loopback4}
	addresses, _ := net.InterfaceAddrs() // without the list there is IPv4
	if slices.ContainsFunc(addresses, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(net.IPv6loopback)
	}) {
		list = append(list, loopback6)
	}
	return list
}
