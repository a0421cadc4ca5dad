package holt

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/holtvm/holt/internal/usernet"
)

// reach is the network mode, with what LocalOnly says about it.
func (c Config) reach() NetworkMode {
	if c.LocalOnly {
		return NetworkLocal
	}
	return c.Network
}

func (c Config) validateNetwork(p *problems) {
	switch {
	case c.Network > NetworkNone:
		p.add("network", fmt.Sprint(uint8(c.Network)), errNetworkMode.Error())
	case c.LocalOnly && (c.Network == NetworkAll || c.Network == NetworkNone):
		p.add("local_only", "true", fmt.Sprintf("must not be set together with network %q; it means %q", c.Network, NetworkLocal))
	case c.Network == NetworkNone:
		c.validateNoNetwork(p)
	}
	c.validatePorts(p)
	c.validateAddress(p)
	for _, server := range c.DNSServers {
		if !server.IsValid() || server.Port() == 0 || server.Addr().IsUnspecified() {
			p.addText("dns_servers", server.String(), errDNSServer)
		}
	}
	if c.PacketCapture != "" {
		p.addText("packet_capture", c.PacketCapture, checkOutputFile(c.PacketCapture))
	}
}

// validateNoNetwork refuses what would be without effect.
func (c Config) validateNoNetwork(p *problems) {
	for _, need := range []struct {
		field string
		set   bool
	}{
		{"port_map", len(c.PortMap) > 0},
		{"network_rules", len(c.NetworkRules) > 0},
		{"assigned_ip", c.AssignedIP.IsValid()},
		{"dns_servers", len(c.DNSServers) > 0},
		{"packet_capture", c.PacketCapture != ""},
	} {
		if need.set {
			p.add(need.field, "", `must not be set when network is "none": the guest has no network device`)
		}
	}
}

// validateAddress checks the guest's address, and that its network has room for
// neighbours.
func (c Config) validateAddress(p *problems) {
	switch bits := c.AssignedPrefixLen; {
	case bits != 0 && !c.AssignedIP.IsValid():
		p.add("assigned_prefix_len", fmt.Sprint(bits), "must be set together with assigned_ip")
	case c.AssignedIP.IsValid() && !c.AssignedIP.Is4():
		p.addText("assigned_ip", c.AssignedIP.String(), errNotIPv4)
	case bits != 0 && (bits < usernet.MinPrefixLen || bits > usernet.MaxPrefixLen):
		p.add("assigned_prefix_len", fmt.Sprint(bits), fmt.Sprintf("must be from %d to %d (bits)", usernet.MinPrefixLen, usernet.MaxPrefixLen))
	case c.AssignedIP.IsValid():
		if _, err := usernet.Plan(c.subnet()); err != nil {
			p.addText("assigned_ip", c.subnet().String(), err)
		}
	}
}

// defaultPrefixLen is the length of the prefix of a guest's network, in bits.
const defaultPrefixLen = 24

// defaultIP is the address of a guest that is not assigned one. It is the same in
// every VM, since each has a network of its own.
var defaultIP = netip.AddrFrom4([4]byte{10, 0, 2, 15})

// subnet is the guest's address and its network.
func (c Config) subnet() netip.Prefix {
	ip, bits := c.AssignedIP, int(c.AssignedPrefixLen)
	if !ip.IsValid() {
		ip = defaultIP
	}
	if bits == 0 {
		bits = defaultPrefixLen
	}
	return netip.PrefixFrom(ip, bits)
}

func (c Config) validatePorts(p *problems) {
	for i, pair := range c.PortMap {
		if err := pair.check(); err != nil {
			p.addText("port_map", pair.String(), err)
			continue
		}
		for _, earlier := range c.PortMap[:i] {
			if pair.overlaps(earlier) {
				p.add("port_map", strconv.Quote(pair.String()),
					fmt.Sprintf("host port %d/%v must be published only once for an address; %q has it", pair.Host, pair.Protocol, earlier))
				break
			}
		}
		if c.reach() == NetworkLocal && pair.HostIP.IsValid() && !pair.HostIP.Unmap().IsLoopback() {
			p.add("port_map", strconv.Quote(pair.String()), "must name a loopback address, or none, when the network is local")
		}
	}
}

var errNotIPv4 = errors.New("must be an IPv4 address, such as 10.0.2.15")
