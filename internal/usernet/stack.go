package usernet

import (
	"fmt"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// How long the stack keeps connections that the guest does not care for. Nothing
// between guest and stack delays a packet for long.
const (
	timeWait   = time.Second      // after both ends have closed
	finWait    = 10 * time.Second // after we have closed
	synRetries = 3                // 1, 2, 4 and 8 s
)

// newStack makes a TCP/IP stack that takes part in all the guest's connections,
// whatever address they go to.
func newStack(l *link, layout *Layout) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			// What a guest sends to the loopback's addresses is for the policy to judge.
			ipv4.NewProtocolWithOptions(ipv4.Options{AllowExternalLoopbackTraffic: true}),
			// Nobody else could have the gateway's addresses: they need no probing.
			ipv6.NewProtocolWithOptions(ipv6.Options{AllowExternalLoopbackTraffic: true}),
		},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	if err := configureStack(s, l, layout); err != nil {
		s.Destroy()
		return nil, err
	}
	return s, nil
}

func configureStack(s *stack.Stack, l *link, layout *Layout) error {
	var problem error
	must := func(what string, err tcpip.Error) {
		if err != nil && problem == nil {
			problem = fmt.Errorf("%s: %s", what, err)
		}
	}
	must("create the interface", s.CreateNIC(nicID, l))
	must("accept all addresses", s.SetPromiscuousMode(nicID, true))
	must("send from all addresses", s.SetSpoofing(nicID, true))
	for _, a := range []tcpip.ProtocolAddress{
		{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: fromNetip(layout.Gateway4).WithPrefix()},
		{Protocol: ipv6.ProtocolNumber, AddressWithPrefix: fromNetip(layout.Gateway6).WithPrefix()},
	} {
		must("set the gateway's address", s.AddProtocolAddress(nicID, a, stack.AddressProperties{}))
	}
	s.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nicID},
		{Destination: header.IPv6EmptySubnet, NIC: nicID},
	})
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	congestion := tcpip.CongestionControlOption("cubic")
	wait, linger := tcpip.TCPTimeWaitTimeoutOption(timeWait), tcpip.TCPLingerTimeoutOption(finWait)
	retries := tcpip.TCPSynRetriesOption(synRetries)
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &congestion, &wait, &linger, &retries} {
		must(fmt.Sprintf("set %T", o), s.SetTransportProtocolOption(tcp.ProtocolNumber, o))
	}
	return problem
}

// handle makes the stack call us for what is for none of its own endpoints.
func (n *Network) handle() {
	n.tuneBuffers(0)
	few := tcp.NewForwarder(n.stack, defaultBuffer, maxRequests, n.handleTCP)
	many := tcp.NewForwarder(n.stack, leastBuffer, maxRequests, n.handleTCP)
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		if n.counters.active.Load() < bufferBudget/defaultBuffer {
			return few.HandlePacket(id, pkt)
		}
		return many.HandlePacket(id, pkt)
	})
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, n.handleUDP)
}

// The memory for the buffers of TCP connections, in bytes and each way. The more
// connections there are, the smaller is the share of a new one.
const (
	bufferBudget  = 32 << 20
	minBuffer     = 4 << 10
	leastBuffer   = 64 << 10
	defaultBuffer = 1 << 20
	maxBuffer     = 4 << 20
)

// tuneBuffers sets what buffers may grow to while there are so many connections.
func (n *Network) tuneBuffers(connections int64) {
	share := min(max(int(bufferBudget/max(connections, 1)), leastBuffer), maxBuffer)
	first := min(share, defaultBuffer)
	for _, o := range []tcpip.SettableTransportProtocolOption{
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: first, Max: share},
		&tcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: first, Max: share},
	} {
		// The stack refuses ranges that are not in order only.
		_ = n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, o)
	}
}
