package usernet

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/holtvm/holt/internal/guestlog"
	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/usernet/policy"
)

// Network is the network of one guest. Its methods may be called from any
// goroutine.
type Network struct {
	layout Layout
	gate   gate
	mtu    int
	limits limits
	policy *policy.Policy
	dns    Resolver
	log    *slog.Logger // limited in rate

	queue    *queue
	link     *link
	stack    *stack.Stack
	flows    *flows
	peers    *peers
	capture  *capture // nil without
	counters counters
	// Each of these holds a token for each connection in the making, DNS query in
	// work and connection to the resolver.
	handshakes, queries, dnsConns chan struct{}

	ctx    context.Context // done when the network closes
	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool
	tasks  sync.WaitGroup // added to with mu held and closed false
}

// New makes a network and binds its published ports. If some cannot be bound,
// the error names all of them.
func New(c Config) (*Network, error) {
	layout, err := Plan(c.Address)
	if err != nil {
		return nil, err
	}
	if c.MAC != nil {
		if err := layout.setMAC(c.MAC); err != nil {
			return nil, fmt.Errorf("hardware address %s: %w", c.MAC, err)
		}
	}
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.MTU < MinMTU || c.MTU > MaxMTU {
		return nil, fmt.Errorf("MTU %d: must be from %d to %d", c.MTU, MinMTU, MaxMTU)
	}
	if c.Policy == nil {
		c.Policy = policy.New(policy.ModeNone, nil, policy.Options{})
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	limits, err := processLimits()
	if err != nil {
		return nil, err
	}
	ports, err := bind(c.Forwards)
	if err != nil {
		return nil, err
	}
	n := &Network{
		layout: layout, mtu: c.MTU, limits: limits, policy: c.Policy, dns: c.DNS,
		log:        guestlog.New(c.Logger),
		handshakes: make(chan struct{}, maxHandshakes),
		queries:    make(chan struct{}, limits.queries), dnsConns: make(chan struct{}, maxDNSConns),
	}
	n.gate = gate{&n.layout}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if c.Capture != nil {
		n.capture = newCapture(c.Capture, c.Logger)
	}
	n.flows = newFlows(n)
	n.peers = newPeers(n)
	n.queue = newQueue(func() { n.counters.queueDrops.Add(1) }, n.sent)
	n.link = newLink(layout.GatewayMAC, layout.GuestMAC, c.MTU, n.queue)
	if n.stack, err = newStack(n.link, &layout); err != nil {
		ports.close()
		n.close()
		return nil, err
	}
	n.handle()
	n.serve(ports)
	return n, nil
}

// Attach connects the guest's end: receive is handed frames, takes as many as it
// has room for, from the first on, and returns how many. It is called by one
// goroutine at a time, never from within a call of a method, and must not block.
// The frames' bytes are the network's again when it returns. Nil disconnects the
// guest; receive may still be running then.
func (n *Network) Attach(receive func(frames []netframe.Frame) int) { n.queue.attach(receive) }

// Room says that the guest has room again after receive took less than all.
func (n *Network) Room() { n.queue.room() }

// Transmit takes a frame of the guest. It copies the frame and does not wait for
// anything but the processor.
func (n *Network) Transmit(f netframe.Frame) {
	size := f.Len()
	n.counters.fromGuest.add(size)
	if size < netframe.HeaderSize || size > netframe.MaxSize {
		n.counters.malformed.Add(1)
		return
	}
	frame := buffer.NewView(size)
	for _, part := range f.Parts {
		_, _ = frame.Write(part) // the size suffices
	}
	b := frame.AsSlice()
	n.capture.add(netframe.Frame{Parts: [][]byte{b}})
	v := n.gate.check(b)
	switch v {
	case forStack4:
		n.toStack(ipv4.ProtocolNumber, frame, f.Offload)
		return
	case forStack6:
		n.toStack(ipv6.ProtocolNumber, frame, f.Offload)
		return
	case arpRequest:
		n.answerARP(b)
	case neighborQuery:
		n.answerNeighbor(b)
	case echo4, echo6:
		n.answerEcho(b)
	case malformed:
		n.counters.malformed.Add(1)
	case spoofed:
		n.counters.spoofed.Add(1)
		n.log.Debug("dropped a frame from an address that is not the guest's")
	case ignored:
		n.counters.ignored.Add(1)
	}
	frame.Release()
}

// toStack gives a frame with an IP packet to the stack.
func (n *Network) toStack(protocol tcpip.NetworkProtocolNumber, frame *buffer.View, o netframe.Offload) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(frame)})
	defer pkt.DecRef()
	pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	if o.Segment == netframe.UDP {
		pkt.GSOOptions.MSS = o.SegmentSize // for handleUDP to cut by
	}
	n.link.deliver(protocol, pkt)
}

// sent is told of each frame that the guest took.
func (n *Network) sent(f netframe.Frame) {
	n.counters.toGuest.add(f.Len())
	n.capture.add(f)
}

// Guest returns how the guest has to configure its interface.
func (n *Network) Guest() GuestSide {
	l := &n.layout
	g := GuestSide{
		MAC:       l.GuestMAC,
		MTU:       n.mtu,
		Addresses: []netip.Prefix{l.Guest4, l.Guest6},
		Gateways:  []netip.Addr{l.Gateway4, l.Gateway6},
		Host:      []netip.Addr{l.Host4, l.Host6},
	}
	if n.dns != nil {
		g.Nameservers = []netip.Addr{l.Gateway4, l.Gateway6}
	}
	return g
}

// begin announces a task that Close has to wait for, and reports whether it may
// begin. The task ends with n.tasks.Done.
func (n *Network) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.tasks.Add(1)
	return true
}

// Close frees the host's ports, resets every connection and ends all goroutines of
// the network. The methods may still be called; they do nothing.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	n.mu.Unlock()
	return n.close()
}

// endTasks resets the guest's connections until no task is left. One that was about
// to accept a connection may make another.
func (n *Network) endTasks() {
	ended := make(chan struct{})
	go func() {
		n.tasks.Wait()
		close(ended)
	}()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		for _, ep := range n.stack.RegisteredEndpoints() {
			ep.Abort()
		}
		select {
		case <-ended:
			return
		case <-again.C:
		}
	}
}

func (n *Network) close() error {
	n.cancel()
	n.flows.close()
	if n.stack != nil {
		n.endTasks()
		n.stack.Destroy()
	}
	n.queue.close()
	return n.capture.close()
}
