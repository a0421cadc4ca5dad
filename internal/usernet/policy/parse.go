package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

var (
	errVerb = errors.New("must begin with allow or deny")
	errForm = errors.New("must be TARGET[:PORT[-PORT]][/tcp|/udp] with TARGET any, an address, a CIDR prefix, a domain or *.domain; an IPv6 address in brackets if a port follows")
)

// ParseRule parses "allow TARGET" or "deny TARGET", where the target is
//
//	TARGET[:PORT[-PORT]][/tcp|/udp]
//
// TARGET is "any", an IP address or CIDR prefix, a domain, or "*.domain" for
// every name below it but not itself. It may be left out if there is a port. An
// IPv6 address or prefix stands in brackets if a port follows. A port is a number
// from 1 to 65535. Zones and prefixes with host bits are refused.
func ParseRule(text string) (Rule, error) {
	verb, target, _ := strings.Cut(text, " ")
	if verb != "allow" && verb != "deny" {
		return Rule{}, fmt.Errorf("rule %q: %w", text, errVerb)
	}
	r, err := parseTarget(target)
	if err != nil {
		return Rule{}, fmt.Errorf("rule %q: %w", text, err)
	}
	r.deny = verb == "deny"
	return r, nil
}

func parseTarget(text string) (r Rule, err error) {
	// The last slash may be a prefix length's instead.
	for _, p := range []Protocol{TCP, UDP} {
		if rest, found := strings.CutSuffix(text, "/"+p.String()); found {
			text, r.protocol = rest, p
			break
		}
	}
	target, ports, bracketed, err := cutPorts(text)
	if err != nil {
		return Rule{}, err
	}
	if ports != "" {
		if r.first, r.last, err = parsePorts(ports); err != nil {
			return Rule{}, err
		}
	}
	switch {
	case bracketed || strings.ContainsAny(target, ":/"):
		r.prefix, err = parsePrefix(target)
		if err == nil && bracketed && !strings.Contains(target, ":") {
			err = errForm
		}
	case target == "" && ports != "", canonical(target) == "any":
	default:
		err = r.setName(target)
	}
	if err != nil {
		return Rule{}, err
	}
	return r, nil
}

// cutPorts splits text into what is before the ports and the ports, which are
// empty if there are none.
func cutPorts(text string) (target, ports string, bracketed bool, err error) {
	if inner, found := strings.CutPrefix(text, "["); found {
		target, after, found := strings.Cut(inner, "]")
		ports, colon := strings.CutPrefix(after, ":")
		if !found || colon == (ports == "") {
			return "", "", false, errForm
		}
		return target, ports, true, nil
	}
	if strings.Count(text, ":") != 1 { // 2 and more: a bare IPv6 address
		return text, "", false, nil
	}
	target, ports, _ = strings.Cut(text, ":")
	if ports == "" {
		return "", "", false, errForm
	}
	return target, ports, false, nil
}

func parsePorts(s string) (first, last uint16, err error) {
	from, to, ranged := strings.Cut(s, "-")
	if first, err = parsePort(from); err != nil {
		return 0, 0, err
	}
	if !ranged {
		return first, first, nil
	}
	if last, err = parsePort(to); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, fmt.Errorf("ports %q must be in ascending order", s)
	}
	return first, last, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q must be a number from 1 to 65535", s)
	}
	return uint16(n), nil
}

// parsePrefix parses a prefix or an address.
func parsePrefix(s string) (netip.Prefix, error) {
	var p netip.Prefix
	if addr, err := netip.ParseAddr(s); err == nil {
		if addr.Zone() != "" {
			return p, errors.New("an address must not have a zone")
		}
		p = netip.PrefixFrom(addr, addr.BitLen())
	} else if p, err = netip.ParsePrefix(s); err != nil {
		return p, errForm
	}
	if masked := p.Masked(); masked != p {
		return p, fmt.Errorf("has bits set behind the prefix; the prefix is %s", masked)
	}
	if p.Addr().Is4In6() {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, nil
}

// setName sets the target to an IPv4 address or a domain.
func (r *Rule) setName(s string) (err error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		r.prefix = netip.PrefixFrom(addr, addr.BitLen())
		return nil
	}
	if s == "" {
		return errForm
	}
	s, r.below = strings.CutPrefix(s, "*.")
	r.domain, err = parseDomain(s)
	return err
}
