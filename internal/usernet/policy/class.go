package policy

import "net/netip"

// class is what an address stands for.
type class uint8

const (
	public    class = iota // whatever is none of the others
	private                // of a site, or reserved for one, for tests or for documentation
	linkLocal              // of the host's links
	host                   // the host's own, but not its loopback
	loopback               // the host's loopback
	metadata               // a cloud's service that hands out credentials
	special                // of no host
	classes
)

// reasons say why the mode does not let a class through.
var reasons = [classes]string{
	public:    "no rule allows it",
	private:   "private range",
	linkLocal: "link-local address",
	host:      "address of the host",
	loopback:  "loopback of the host",
	metadata:  "metadata service",
	special:   "special address",
}

// classSet is a set of classes: bit 1<<class for each.
type classSet uint8

const (
	nowhere    classSet = 0
	publicOnly classSet = 1 << public
	localOnly  classSet = 1 << loopback
	anywhere   classSet = 1<<special - 1 // all but special
)

func (s classSet) has(c class) bool { return s&(1<<c) != 0 }

// opens is what the mode lets through by itself.
func (m Mode) opens() classSet {
	switch m {
	case ModePublic:
		return publicOnly
	case ModeLocal:
		return localOnly
	case ModeAll:
		return anywhere
	default:
		return nowhere
	}
}

// ranges gives the class of what is in a prefix. The first that contains an
// address decides. Most are from IANA's special-purpose address registries (RFC
// 6890).
var ranges = []struct {
	prefix netip.Prefix
	class  class
}{
	// Metadata services: of most clouds, of AWS's containers, of Alibaba, of
	// Azure, of Oracle, and of AWS and Google over IPv6.
	{netip.MustParsePrefix("169.254.169.254/32"), metadata},
	{netip.MustParsePrefix("169.254.170.2/32"), metadata},
	{netip.MustParsePrefix("169.254.170.23/32"), metadata},
	{netip.MustParsePrefix("100.100.100.200/32"), metadata},
	{netip.MustParsePrefix("168.63.129.16/32"), metadata},
	{netip.MustParsePrefix("192.0.0.192/32"), metadata},
	{netip.MustParsePrefix("fd00:ec2::254/128"), metadata},
	{netip.MustParsePrefix("fd00:ec2::23/128"), metadata},
	{netip.MustParsePrefix("fd20:ce::254/128"), metadata},

	{netip.MustParsePrefix("127.0.0.0/8"), loopback},
	{netip.MustParsePrefix("169.254.0.0/16"), linkLocal},
	{netip.MustParsePrefix("10.0.0.0/8"), private},
	{netip.MustParsePrefix("172.16.0.0/12"), private},
	{netip.MustParsePrefix("192.168.0.0/16"), private},
	{netip.MustParsePrefix("100.64.0.0/10"), private},   // shared by carriers, RFC 6598
	{netip.MustParsePrefix("192.0.2.0/24"), private},    // documentation, RFC 5737
	{netip.MustParsePrefix("198.51.100.0/24"), private}, // documentation
	{netip.MustParsePrefix("203.0.113.0/24"), private},  // documentation
	{netip.MustParsePrefix("198.18.0.0/15"), private},   // benchmarks, RFC 2544
	{netip.MustParsePrefix("0.0.0.0/8"), special},
	{netip.MustParsePrefix("192.0.0.0/24"), special},
	{netip.MustParsePrefix("192.88.99.0/24"), special}, // 6to4 relays, RFC 7526
	{netip.MustParsePrefix("224.0.0.0/3"), special},    // multicast, reserved, broadcast
	{netip.MustParsePrefix("0.0.0.0/0"), public},

	{netip.MustParsePrefix("::1/128"), loopback},
	{netip.MustParsePrefix("fe80::/10"), linkLocal},
	{netip.MustParsePrefix("::/128"), special},
	{netip.MustParsePrefix("100::/64"), special}, // discarded, RFC 6666
	{netip.MustParsePrefix("ff00::/8"), special}, // multicast
	{netip.MustParsePrefix("64:ff9b::/96"), public},
	{netip.MustParsePrefix("2001::/23"), private},     // Teredo and other protocols
	{netip.MustParsePrefix("2001:db8::/32"), private}, // documentation, RFC 3849
	{netip.MustParsePrefix("3fff::/20"), private},     // documentation, RFC 9637
	{netip.MustParsePrefix("2000::/3"), public},
	// fc00::/7, fec0::/10, 64:ff9b:1::/48 and what nobody was given.
	{netip.MustParsePrefix("::/0"), private},
}

// classify returns the class of addr, which is not IPv4-mapped, without regard to
// what the host's own addresses are.
func classify(addr netip.Addr) class {
	for i := range ranges {
		if ranges[i].prefix.Contains(addr) {
			return ranges[i].class
		}
	}
	return special // no address at all
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")   // RFC 6052
	localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")      // RFC 3056
	compatible = netip.MustParsePrefix("::/96")          // RFC 4291, 2.5.5.1
)

// embedded returns the IPv4 address that a packet to addr may end at, or the zero
// Addr.
func embedded(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return netip.Addr{}
	}
	b := addr.As16()
	switch {
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6]))
	case nat64.Contains(addr), localNAT64.Contains(addr), isISATAP(&b):
		return netip.AddrFrom4([4]byte(b[12:]))
	case compatible.Contains(addr) && !addr.IsUnspecified() && !addr.IsLoopback():
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.Addr{}
}

// isISATAP reports whether the lower half is an ISATAP interface's (RFC 5214, 6.1).
func isISATAP(b *[16]byte) bool {
	return b[8]&^3 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}
