// Package dns is the resolver at a guest's gateway: it answers for the names of
// the host itself, asks the host's resolvers for the others that a policy lets
// through, and keeps addresses from the guest that it must not reach.
package dns

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	dnsmsg "github.com/miekg/dns"

	"github.com/holtvm/holt/internal/guestlog"
)

// HostResolvConf is the path of the host's resolver configuration, resolv.conf(5).
const HostResolvConf = "/etc/resolv.conf"

// Policy says what a guest may learn. policy.Policy is one.
type Policy interface {
	// MayResolve reports whether upstreams may be asked for name.
	MayResolve(name string) bool
	// MayFollow reports whether an answer may lead to the alias name.
	MayFollow(name string) bool
	// Answer returns those of addrs that an answer to a query for name may have,
	// and takes note that the guest gets them for ttl.
	Answer(name string, addrs []netip.Addr, ttl time.Duration) (kept []netip.Addr)
}

// Config is what a Server needs.
type Config struct {
	// Local are names that are answered from here, whatever the policy says:
	// "host.holt.internal".
	Local map[string][]netip.Addr
	// Upstream are the resolvers to ask. If empty they are read from ResolvConf.
	Upstream []netip.AddrPort
	// ResolvConf is the path of the host's resolver configuration, read again
	// whenever it changes; HostResolvConf if empty.
	ResolvConf string
	// Policy must be set.
	Policy Policy
	// Logger gets what a guest asks for in vain, at a limited rate and at debug
	// level. It may be nil.
	Logger *slog.Logger
	// Dial connects to an upstream; network is "udp" or "tcp". If nil, the host
	// dials.
	Dial func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error)
}

// Server answers the DNS queries of one guest. Its methods may be called at the
// same time.
type Server struct {
	local    zone
	upstream []netip.AddrPort
	conf     resolvConf
	policy   Policy
	log      *slog.Logger
	dial     func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error)
	// patience is how long one upstream is waited for, and all of them together.
	patience, allPatience time.Duration
}

// New returns a server. It opens nothing until it is asked.
func New(config Config) *Server {
	s := &Server{
		local:       newZone(config.Local),
		upstream:    config.Upstream,
		conf:        resolvConf{path: config.ResolvConf},
		policy:      config.Policy,
		log:         slog.New(slog.DiscardHandler),
		dial:        config.Dial,
		patience:    2 * time.Second,
		allPatience: 5 * time.Second,
	}
	if s.conf.path == "" {
		s.conf.path = HostResolvConf
	}
	if config.Logger != nil {
		s.log = guestlog.New(config.Logger)
	}
	if s.dial == nil {
		s.dial = func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.String())
		}
	}
	return s
}

// Handle returns the answer to a query, or nil if there is none to give. Over TCP
// neither has the two bytes of its length in front. Handle keeps nothing of query.
// While it waits for an upstream it has one socket; how many queries do so at a
// time is up to the caller.
func (s *Server) Handle(ctx context.Context, query []byte, overTCP bool) []byte {
	req, refusal := parseQuery(query)
	if req == nil {
		return refusal
	}
	size := maxAnswer
	if !overTCP {
		size = req.size
	}
	return req.pack(s.answer(ctx, req), size)
}

// answer returns what req is answered with. Its header and question are set by
// request.pack.
func (s *Server) answer(ctx context.Context, req *request) *dnsmsg.Msg {
	if req.rcode != dnsmsg.RcodeSuccess {
		return withRcode(req.rcode)
	}
	if m := s.local.answer(req); m != nil {
		return m
	}
	if !s.policy.MayResolve(req.name) {
		s.log.Debug("refuse to resolve", "name", req.name)
		return withRcode(dnsmsg.RcodeNameError)
	}
	m, err := s.forward(ctx, req)
	if err != nil {
		s.log.Debug("resolve", "name", req.name, "err", err)
		return withRcode(dnsmsg.RcodeServerFailure)
	}
	return s.filter(req, m)
}

func withRcode(rcode int) *dnsmsg.Msg {
	return &dnsmsg.Msg{MsgHdr: dnsmsg.MsgHdr{Rcode: rcode}}
}
