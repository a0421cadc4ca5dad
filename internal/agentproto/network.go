package agentproto

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of a Network.
const (
	// MaxAddresses is the greatest number of addresses, gateways, name servers and
	// search domains each.
	MaxAddresses = 16
	// MaxHosts is the greatest number of lines that /etc/hosts gets, and MaxNames
	// that of names in one.
	MaxHosts = 256
	MaxNames = 32
	// MinMTU and MaxMTU bound the MTU, in bytes: the least that IPv6 works with
	// (RFC 8200, 5), and the most that Linux's virtio-net driver takes.
	MinMTU = 1280
	MaxMTU = 65535
	// MaxName is the longest name of a host, in bytes (RFC 1035, 2.3.4, less the
	// encoding), and maxLabel that of a part between dots.
	MaxName  = 253
	maxLabel = 63
)

// Network is what the guest's one network interface is to be. There is no DHCP:
// this is all.
type Network struct {
	// MAC is the interface's hardware address, by which it is found:
	// "02:00:00:00:00:01".
	MAC string `json:"mac"`
	// MTU is the largest IP packet, in bytes: MinMTU to MaxMTU.
	MTU int `json:"mtu"`
	// Addresses are the guest's own, with the length of their network's prefix:
	// one at least.
	Addresses []netip.Prefix `json:"addresses"`
	// Gateways are where everything else is sent, at most one of each IP version,
	// which one of Addresses has too. They need not be in any of its networks.
	Gateways []netip.Addr `json:"gateways,omitempty"`
	// Nameservers and Search become /etc/resolv.conf.
	Nameservers []netip.Addr `json:"nameservers,omitempty"`
	Search      []string     `json:"search,omitempty"`
	// Hosts are added to /etc/hosts, behind the loopback's and the guest's own
	// name.
	Hosts []HostEntry `json:"hosts,omitempty"`
}

// HostEntry is a line of /etc/hosts.
type HostEntry struct {
	Addr  netip.Addr `json:"addr"`
	Names []string   `json:"names"` // 1 or more
}

const lettersDigits = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// HardwareAddr is the value of MAC. It is an error if that is not six pairs of
// hexadecimal digits with colons between them, or a group's address.
func (n Network) HardwareAddr() (mac [6]byte, err error) { return parseMAC("mac", n.MAC) }

// parseMAC parses the hardware address that the key has.
func parseMAC(key, text string) (mac [6]byte, err error) {
	pairs := strings.Split(text, ":")
	ok := len(pairs) == len(mac)
	for i := 0; ok && i < len(mac); i++ {
		b, err := hex.DecodeString(pairs[i])
		if ok = err == nil && len(b) == 1; ok {
			mac[i] = b[0]
		}
	}
	if !ok || mac[0]&1 != 0 || mac == [6]byte{} {
		return mac, fmt.Errorf(`%s %.80q: must be the hardware address of one interface, like "02:00:00:00:00:01"`, key, text)
	}
	return mac, nil
}

// Validate returns every reason for which n cannot be set up, joined.
func (n Network) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, err := n.HardwareAddr(); err != nil {
		errs = append(errs, err)
	}
	if n.MTU < MinMTU || n.MTU > MaxMTU {
		bad("mtu %d: must be %d to %d bytes", n.MTU, MinMTU, MaxMTU)
	}
	atMost := func(most int, what string, count int) {
		if count > most {
			bad("%s: %d: at most %d", what, count, most)
		}
	}
	atMost(MaxAddresses, "addresses", len(n.Addresses))
	atMost(MaxAddresses, "gateways", len(n.Gateways))
	atMost(MaxAddresses, "nameservers", len(n.Nameservers))
	atMost(MaxAddresses, "search", len(n.Search))
	atMost(MaxHosts, "hosts", len(n.Hosts))
	if len(errs) > 0 {
		return errors.Join(errs...) // what follows is bounded
	}
	errs = append(errs, n.checkAddresses()...)
	errs = append(errs, n.checkGateways()...)
	errs = append(errs, n.checkNames()...)
	return errors.Join(errs...)
}

func (n Network) checkAddresses() (errs []error) {
	if len(n.Addresses) == 0 {
		errs = append(errs, errors.New("addresses: must be one at least"))
	}
	for i, p := range n.Addresses {
		switch a := p.Addr(); {
		case !p.IsValid() || p.Bits() == 0 || !hostAddr(a) || a.IsLoopback():
			errs = append(errs, fmt.Errorf(`addresses[%d]: %s: must be the address of one host with the length of its network's prefix, like "192.0.2.2/24"`, i, p))
		case slices.ContainsFunc(n.Addresses[:i], func(q netip.Prefix) bool { return q.Addr() == a }):
			errs = append(errs, fmt.Errorf("addresses[%d]: %s: is given twice", i, p))
		}
	}
	return errs
}

func (n Network) checkGateways() (errs []error) {
	for i, g := range n.Gateways {
		bad := func(why string) { errs = append(errs, fmt.Errorf("gateways[%d]: %s: %s", i, g, why)) }
		switch {
		case !hostAddr(g) || g.IsLoopback():
			bad("must be the address of one host")
		case slices.ContainsFunc(n.Gateways[:i], func(h netip.Addr) bool { return h.Is4() == g.Is4() }):
			bad("is the second of its IP version")
		case !slices.ContainsFunc(n.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() == g.Is4() }):
			bad("the guest has no address of its IP version")
		case slices.ContainsFunc(n.Addresses, func(p netip.Prefix) bool { return p.Addr() == g }):
			bad("is the guest's own address")
		}
	}
	return errs
}

func (n Network) checkNames() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for i, a := range n.Nameservers {
		if !hostAddr(a) {
			bad("nameservers[%d]: %s: must be the address of one host", i, a)
		}
	}
	for i, s := range n.Search {
		if !ValidName(s) {
			bad("search[%d]: %.80q: must be a domain name", i, s)
		}
	}
	for i, h := range n.Hosts {
		if !hostAddr(h.Addr) {
			bad("hosts[%d]: addr %s: must be the address of one host", i, h.Addr)
		}
		if len(h.Names) == 0 || len(h.Names) > MaxNames {
			bad("hosts[%d]: %d names: must be 1 to %d", i, len(h.Names), MaxNames)
			continue
		}
		for _, name := range h.Names {
			if !ValidName(name) {
				bad("hosts[%d]: name %.80q: must be a host name", i, name)
			}
		}
	}
	return errs
}

// hostAddr says whether a is the plain address of one host: without a zone, and not
// an IPv4 address in IPv6's clothes. (A zone could hold anything, a newline too.)
func hostAddr(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast()
}

// ValidName says whether s is a host or domain name: labels of letters, digits and
// inner hyphens (RFC 1123, 2.1) with dots between them.
func ValidName(s string) bool {
	if len(s) > MaxName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabel || strings.Trim(label, lettersDigits+"-") != "" ||
			label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}
