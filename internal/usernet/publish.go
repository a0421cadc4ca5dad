package usernet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/usernet/policy"
)

const (
	// guestTimeout is how long the guest may take to accept a published connection.
	guestTimeout = 10 * time.Second
	// guestTimeout6 is how long it may take in IPv6, before IPv4 is tried.
	guestTimeout6 = 2 * time.Second
	// acceptPause is how long accepting rests after an error, such as a lack of
	// descriptors.
	acceptPause = 50 * time.Millisecond
)

// published are the bound ports of the host.
type published struct {
	tcp []listener
	udp []packetListener
}

type listener struct {
	*net.TCPListener
	guestPort uint16
}

type packetListener struct {
	*net.UDPConn
	guestPort uint16
}

func (p *published) close() {
	for _, l := range p.tcp {
		_ = l.Close()
	}
	for _, l := range p.udp {
		_ = l.Close()
	}
}

// bind binds the host's side of the published ports, or none of them.
func bind(forwards []Forward) (*published, error) {
	p := new(published)
	var problems []error
	for _, f := range forwards {
		if err := p.bind(f); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// bind binds one. If it is for every address, a host without IPv6 is content with
// IPv4.
func (p *published) bind(f Forward) error {
	if f.Host.Addr().IsValid() {
		return p.listen(f, netip.AddrPortFrom(f.Host.Addr().Unmap(), f.Host.Port()))
	}
	if err := p.listen(f, netip.AddrPortFrom(netip.IPv4Unspecified(), f.Host.Port())); err != nil {
		return err
	}
	err := p.listen(f, netip.AddrPortFrom(netip.IPv6Unspecified(), f.Host.Port()))
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return err
}

func (p *published) listen(f Forward, at netip.AddrPort) error {
	suffix := "4"
	if at.Addr().Is6() {
		suffix = "6" // and IPv6 only
	}
	var err error
	switch f.Protocol {
	case policy.TCP:
		var l *net.TCPListener
		if l, err = net.ListenTCP("tcp"+suffix, net.TCPAddrFromAddrPort(at)); err == nil {
			p.tcp = append(p.tcp, listener{l, f.GuestPort})
		}
	case policy.UDP:
		var c *net.UDPConn
		if c, err = net.ListenUDP("udp"+suffix, net.UDPAddrFromAddrPort(at)); err == nil {
			_ = c.SetReadBuffer(udpBuffer)
			p.udp = append(p.udp, packetListener{c, f.GuestPort})
		}
	default:
		err = errors.New("only TCP and UDP ports can be published")
	}
	return explainBind(f.Protocol, at, err)
}

// explainBind says what is in the way of publishing a port.
func explainBind(protocol policy.Protocol, at netip.AddrPort, err error) error {
	var errno unix.Errno
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.As(err, &errno):
		err = errno // the rest of the message would repeat ours
	}
	switch errno {
	case unix.EADDRINUSE:
		hint = " (is another program, or another VM, using that port?)"
	case unix.EACCES:
		hint = " (ports below 1024 need privileges)"
	case unix.EADDRNOTAVAIL:
		hint = " (is it an address of this host?)"
	}
	return fmt.Errorf("publish %s/%s: %w%s", at, protocol, err, hint)
}

// serve serves the published ports until the network closes.
func (n *Network) serve(p *published) {
	for _, l := range p.tcp {
		n.tasks.Go(func() { n.acceptFrom(l) })
	}
	for _, l := range p.udp {
		n.tasks.Go(func() { n.peers.readFrom(l) })
	}
	context.AfterFunc(n.ctx, p.close)
}

// acceptFrom forwards the connections of a published port.
func (n *Network) acceptFrom(l listener) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			select {
			case <-n.ctx.Done():
				return
			case <-time.After(acceptPause):
				continue
			}
		}
		if !n.begin() {
			reset(c)
			return
		}
		if !n.acquire() {
			n.tasks.Done()
			n.counters.failed.Add(1)
			reset(c)
			continue
		}
		go func() {
			defer n.tasks.Done()
			defer n.release()
			n.forward(c, l.guestPort)
		}()
	}
}

// forward connects a peer of a published port with the guest.
func (n *Network) forward(c *net.TCPConn, port uint16) {
	peer := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	n.log.Debug("published connection", slog.Any("peer", peer), slog.Int("port", int(port)))
	g, err := n.dialPublished(peer.Addr().Unmap(), port)
	if err != nil {
		n.counters.failed.Add(1)
		n.log.Debug("the guest does not accept a published connection", slog.Int("port", int(port)), slog.Any("error", err))
		reset(c)
		return
	}
	n.bridge(g, c)
}

// dialPublished connects to the guest in the peer's IP version. A server that
// listens in IPv4 only is reached all the same.
func (n *Network) dialPublished(peer netip.Addr, port uint16) (guestConn, error) {
	if peer.Is6() {
		ctx, cancel := context.WithTimeout(n.ctx, guestTimeout6)
		defer cancel()
		if g, err := n.dialGuest(ctx, peer, port); err == nil {
			return g, nil
		}
	}
	ctx, cancel := context.WithTimeout(n.ctx, guestTimeout)
	defer cancel()
	return n.dialGuest(ctx, loopback4, port)
}
