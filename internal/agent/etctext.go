package agent

import (
	"fmt"
	"strings"

	"github.com/holtvm/holt/internal/agentproto"
)

// resolvConf is the text of /etc/resolv.conf. Without a name server it has none: a
// resolver then asks the guest itself, which refuses at once.
func resolvConf(n agentproto.Network) string {
	var b strings.Builder
	for _, a := range n.Nameservers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(n.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(n.Search, " "))
	}
	return b.String()
}

// hostsFile is the text of /etc/hosts: the loopback's names, the guest's own name, if
// it has one, and what the specification adds.
func hostsFile(n agentproto.Network, hostname string) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	if hostname != "" {
		names := hostname
		if short, _, ok := strings.Cut(hostname, "."); ok {
			names += " " + short
		}
		for _, p := range n.Addresses {
			fmt.Fprintf(&b, "%s\t%s\n", p.Addr(), names)
		}
	}
	for _, h := range n.Hosts {
		fmt.Fprintf(&b, "%s\t%s\n", h.Addr, strings.Join(h.Names, " "))
	}
	return b.String()
}
