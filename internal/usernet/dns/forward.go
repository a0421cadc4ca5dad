package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	dnsmsg "github.com/miekg/dns"
)

// rounds is how often each upstream is asked, since UDP loses messages.
const rounds = 2

// forward asks the upstreams in their order until one has an answer.
func (s *Server) forward(ctx context.Context, req *request) (*dnsmsg.Msg, error) {
	servers, err := s.upstreams()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.allPatience)
	defer cancel()
	var errs []error
	for range rounds {
		for _, server := range servers {
			m, err := s.ask(ctx, server, req)
			if err == nil {
				return m, nil
			}
			errs = append(errs, fmt.Errorf("ask %v: %w", server, err))
			if ctx.Err() != nil {
				return nil, errors.Join(errs...)
			}
		}
	}
	return nil, errors.Join(errs...)
}

// ask asks one upstream over UDP, and over TCP for what is too long for that.
func (s *Server) ask(ctx context.Context, server netip.AddrPort, req *request) (*dnsmsg.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	m, err := s.exchange(ctx, "udp", server, req)
	if err == nil && m.Truncated {
		m, err = s.exchange(ctx, "tcp", server, req)
	}
	if err != nil {
		return nil, err
	}
	switch m.Rcode {
	case dnsmsg.RcodeSuccess, dnsmsg.RcodeNameError:
		return m, nil
	}
	return nil, fmt.Errorf("the answer is %s", rcodeName(m.Rcode))
}

func rcodeName(rcode int) string {
	if name, found := dnsmsg.RcodeToString[rcode]; found {
		return name
	}
	return fmt.Sprintf("RCODE%d", rcode)
}
