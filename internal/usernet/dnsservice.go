package usernet

import (
	"context"
	"encoding/binary"
	"io"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/holtvm/holt/internal/usernet/policy"
)

const (
	dnsPort = 53
	// maxQueries is how many DNS queries are worked on at a time. More are dropped;
	// resolvers ask again.
	maxQueries = 256
	// maxDNSConns is how many connections to the resolver there are at a time. More
	// are reset.
	maxDNSConns = 64
	// queryTimeout is how long a query may take. Resolvers give up after 5 s.
	queryTimeout = 10 * time.Second
	// dnsIdle is how long a connection may be silent (RFC 7766, 6.2.3).
	dnsIdle = 20 * time.Second
)

// answerDNS answers a query that came in a datagram.
func (n *Network) answerDNS(guest, server netip.AddrPort, query []byte) {
	select {
	case n.queries <- struct{}{}:
	default:
		return
	}
	if !n.begin() {
		<-n.queries
		return
	}
	go func() {
		defer n.tasks.Done()
		defer func() { <-n.queries }()
		if answer := n.resolveQuery(query, false); answer != nil {
			n.sendUDP(server, guest, answer)
		}
	}()
}

func (n *Network) resolveQuery(query []byte, overTCP bool) []byte {
	n.counters.queries.Add(1)
	ctx, cancel := context.WithTimeout(n.ctx, queryTimeout)
	defer cancel()
	return n.dns.Handle(ctx, query, overTCP)
}

// acceptDNS serves a connection to the resolver.
func (n *Network) acceptDNS(r *tcp.ForwarderRequest, dst netip.AddrPort) {
	select {
	case n.dnsConns <- struct{}{}:
		defer func() { <-n.dnsConns }()
	default:
		n.failed(policy.TCP, dst, errTooMany)
		r.Complete(true)
		return
	}
	if g, err := n.accept(r); err == nil {
		n.serveDNS(g)
	}
}

// serveDNS answers the queries of a connection, one after the other (RFC 7766, 8).
func (n *Network) serveDNS(g guestConn) {
	conn := gonet.NewTCPConn(g.wq, g.ep)
	stop := context.AfterFunc(n.ctx, g.ep.Abort)
	defer stop()
	defer g.finish(n.ctx)
	for {
		_ = conn.SetDeadline(time.Now().Add(dnsIdle)) // cannot fail
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		select {
		case n.queries <- struct{}{}:
		case <-n.ctx.Done():
			return
		}
		answer := n.resolveQuery(query, true)
		<-n.queries
		if answer == nil || len(answer) > 1<<16-1 {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(dnsIdle)) // the query's time is not the guest's
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}
