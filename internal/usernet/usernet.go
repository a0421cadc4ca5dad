// Package usernet is the network behind a guest's card: a user-mode TCP/IP stack
// that ends the guest's connections and opens its own on the host in their place,
// so that a guest has a network without privileges, interfaces or a daemon on the
// host. It knows Ethernet frames and sockets, and nothing of virtio.
//
// A frame of the guest passes a gate first (gate.go), which drops what is
// malformed or not from the guest's own addresses. ARP, neighbor discovery and
// echo requests are answered here; TCP and UDP go through the stack to
// handlers, which ask the policy and then a socket of the host. All that goes to
// the guest passes one bounded queue (queue.go).
//
// Nothing here outlives its process. A guest that goes on from a snapshot has
// connections of which the network knows nothing: they are reset once the guest sends
// on them, and one that only waits is not told. Datagrams just go on.
//
// The guest is hostile: every table, queue and buffer here has a limit that
// holds whatever the guest sends, and all it can do with them is to degrade its own
// network.
package usernet

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"

	"github.com/holtvm/holt/internal/usernet/policy"
)

// Limits of a network. A process that may have few descriptors has lower ones, see
// processLimits.
const (
	// DefaultMTU is the largest IP packet unless Config says otherwise, in bytes. A
	// frame of that size fills the largest buffer that the stack keeps a pool of.
	DefaultMTU = 65520
	// MinMTU and MaxMTU are the bounds of the MTU, in bytes (RFC 8200, 5).
	MinMTU = 1280
	MaxMTU = 65535
	// MaxConnections is how many TCP connections there are at a time. More are
	// reset.
	MaxConnections = 4096
	// MaxFlows is how many UDP peers and echo targets the guest has at a time, and
	// how many peers of published UDP ports. More take the place of those that were
	// silent for longest.
	MaxFlows = 1024
)

// Resolver answers DNS messages; *dns.Server is one.
type Resolver interface {
	// Handle returns the answer to a query in wire format, or nil for none. It
	// returns when ctx is done.
	Handle(ctx context.Context, query []byte, overTCP bool) []byte
}

// Config is what a network is made of.
type Config struct {
	// Address is the guest's IPv4 address with the length of its network's prefix;
	// see Plan.
	Address netip.Prefix
	// MAC is the hardware address of the guest's card: 6 bytes, unicast, not the
	// gateway's. Nil is Plan's. Networks are apart from each other, so that guests may
	// share one; those that are copies of each other can be told apart by theirs.
	MAC net.HardwareAddr
	// MTU is the largest IP packet, in bytes, from MinMTU to MaxMTU; 0 is
	// DefaultMTU.
	MTU int
	// Policy says what the guest reaches; nil is nothing.
	Policy *policy.Policy
	// Forwards are the published ports.
	Forwards []Forward
	// DNS answers at port 53 of the gateway, nil is nobody.
	DNS Resolver
	// Capture gets all frames of both directions in pcap format, unless nil.
	Capture io.Writer
	// Logger gets what happens; what the guest can cause is limited in rate. Nil is
	// slog's default.
	Logger *slog.Logger
}

// Forward is a published port: what arrives at Host is forwarded to the guest.
type Forward struct {
	Protocol policy.Protocol // TCP or UDP
	// Host is the host's side. An invalid address is every address of the host, IPv4
	// and IPv6.
	Host      netip.AddrPort
	GuestPort uint16 // 1 or more
}

// GuestSide is how the guest has to configure its interface; there is no DHCP.
type GuestSide struct {
	MAC         net.HardwareAddr // 6 bytes
	MTU         int              // bytes
	Addresses   []netip.Prefix
	Gateways    []netip.Addr
	Nameservers []netip.Addr // empty without Config.DNS
	Host        []netip.Addr // of the host, host.holt.internal
}
