package usernet

import (
	"container/list"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// The gateway's ports that stand for peers of published UDP ports.
const (
	firstPeerPort = 49152 // RFC 6335, 6
)

// peerKey is a peer of the host and the published port that it sends to.
type peerKey struct {
	listener *net.UDPConn
	addr     netip.AddrPort
}

// peer is one that the guest knows as a port of the gateway.
type peer struct {
	key      peerKey
	guest    uint16         // the guest's port
	gateway  netip.AddrPort // what the guest sees
	lastUsed time.Time
	place    *list.Element
}

// peers is the table of those who send to published UDP ports, in order of use.
type peers struct {
	network   *Network
	mu        sync.Mutex
	byKey     map[peerKey]*peer
	byGateway map[netip.AddrPort]*peer
	order     list.List // of *peer, the one used last in front
	next      uint16    // where to look for a free port
}

func newPeers(n *Network) *peers {
	return &peers{
		network: n, byKey: make(map[peerKey]*peer), byGateway: make(map[netip.AddrPort]*peer), next: firstPeerPort,
	}
}

// readFrom passes on what a published port receives, until it is closed.
func (t *peers) readFrom(l packetListener) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := l.ReadFromUDPAddrPort(b)
		if err != nil {
			// Apart from the end, errors are about what was sent before.
			if t.network.ctx.Err() != nil {
				return
			}
			continue
		}
		gateway := t.gatewayPort(peerKey{l.UDPConn, from}, l.guestPort)
		t.network.sendUDP(gateway, t.network.layout.guestAt(gateway.Addr(), l.guestPort), b[:n])
	}
}

// gatewayPort returns what the guest sees of a peer.
func (t *peers) gatewayPort(key peerKey, guest uint16) netip.AddrPort {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if p := t.byKey[key]; p != nil {
		p.lastUsed = now
		t.order.MoveToFront(p.place)
		return p.gateway
	}
	t.expire(now)
	p := &peer{key: key, guest: guest, gateway: t.freePort(key.addr.Addr().Unmap()), lastUsed: now}
	t.byKey[key] = p
	t.byGateway[p.gateway] = p
	p.place = t.order.PushFront(p)
	t.network.counters.flows.Add(1)
	t.network.log.Debug("published datagrams", slog.Any("peer", key.addr), slog.Int("port", int(guest)))
	return p.gateway
}

// freePort finds a port of the gateway for a peer. There are more than peers.
func (t *peers) freePort(peer netip.Addr) netip.AddrPort {
	for {
		a := netip.AddrPortFrom(t.network.layout.gatewayFor(peer), t.next)
		if t.next++; t.next == 0 {
			t.next = firstPeerPort
		}
		if t.byGateway[a] == nil {
			return a
		}
	}
}

// expire forgets who was silent for long, and who was silent for longest if there
// are too many.
func (t *peers) expire(now time.Time) {
	for e := t.order.Back(); e != nil; e = t.order.Back() {
		p := e.Value.(*peer)
		if now.Sub(p.lastUsed) < flowIdle && t.order.Len() < MaxFlows {
			return
		}
		t.order.Remove(e)
		delete(t.byKey, p.key)
		delete(t.byGateway, p.gateway)
	}
}

// fromGuest sends a datagram to the peer that a port of the gateway stands for,
// and reports whether there is one.
func (t *peers) fromGuest(gateway netip.AddrPort, guest uint16, payload []byte) bool {
	t.mu.Lock()
	p := t.byGateway[gateway]
	if p == nil || p.guest != guest {
		t.mu.Unlock()
		return false
	}
	p.lastUsed = time.Now()
	t.order.MoveToFront(p.place)
	t.mu.Unlock()
	// Datagrams may get lost.
	_, _ = p.key.listener.WriteToUDPAddrPort(payload, p.key.addr)
	return true
}
