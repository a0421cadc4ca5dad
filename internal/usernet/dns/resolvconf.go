package dns

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	dnsmsg "github.com/miekg/dns"
)

// Bounds of what is taken from a resolver configuration.
const (
	maxConfSize  = 64 << 10 // bytes
	maxUpstreams = 3        // resolv.conf(5), nameserver
	maxSearch    = 16
)

var errNoUpstream = errors.New("no name server is configured")

// resolvConf is the host's resolver configuration, resolv.conf(5).
type resolvConf struct {
	path string

	mu       sync.Mutex
	modified time.Time
	size     int64
	servers  []netip.AddrPort
}

// read returns the servers as of now. The slice is not changed later.
func (c *resolvConf) read() ([]netip.AddrPort, error) {
	info, err := os.Stat(c.path)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !info.ModTime().Equal(c.modified) || info.Size() != c.size {
		text, err := load(c.path)
		if err != nil {
			return nil, err
		}
		c.servers, _ = parseResolvConf(text)
		c.modified, c.size = info.ModTime(), info.Size()
	}
	return c.servers, nil
}

func load(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfSize))
	return string(text), err
}

// parseResolvConf returns the first servers, and the domains of the last line
// that has any. What it does not understand it leaves out.
func parseResolvConf(text string) (servers []netip.AddrPort, search []string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			addr, err := netip.ParseAddr(fields[1])
			if err == nil && len(servers) < maxUpstreams {
				servers = append(servers, netip.AddrPortFrom(addr, 53))
			}
		case "domain":
			search = searchDomains(fields[1:2])
		case "search":
			search = searchDomains(fields[1:])
		}
	}
	return servers, search
}

// searchDomains returns those of names that are domains, without the dot at the
// end; the root is none.
func searchDomains(names []string) (domains []string) {
	for _, name := range names {
		_, ok := dnsmsg.IsDomainName(name)
		name = strings.TrimSuffix(name, ".")
		if ok && name != "" && !strings.ContainsAny(name, `\#;`) && len(domains) < maxSearch {
			domains = append(domains, name)
		}
	}
	return domains
}

// SearchDomains returns the domains in which a host with the resolver configuration
// at path looks for short names, none if it cannot be read.
func SearchDomains(path string) []string {
	text, err := load(path)
	if err != nil {
		return nil
	}
	_, search := parseResolvConf(text)
	return search
}

// upstreams returns the resolvers to ask, at least one.
func (s *Server) upstreams() ([]netip.AddrPort, error) {
	if len(s.upstream) > 0 {
		return s.upstream, nil
	}
	servers, err := s.conf.read()
	if err != nil {
		return nil, fmt.Errorf("read the host's resolver configuration: %w", err)
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("%s: %w", s.conf.path, errNoUpstream)
	}
	return servers, nil
}
