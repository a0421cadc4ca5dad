//go:build tcg

package tcg

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Ports of the servers in a vmtest.World.
const (
	echoPort = 7070 // TCP and UDP: says who it is, to whom, and what it got
	notePort = 7071 // UDP: remembers the payload, for the echo server to tell
	dnsPort  = 53
)

// zone is what the DNS server of a World knows.
var zone = map[string][]string{
	"one.example.":            {"93.184.215.14", "2606:2800:21f::14"},
	"www.two.example.":        {"8.8.4.4"},
	"alias.example.":          {"CNAME www.two.example.", "8.8.4.4"},
	"lan.example.":            {"10.77.0.1"},
	"rebind.example.":         {"127.0.0.1"},
	"rebind6.example.":        {"::1"},
	"mapped.example.":         {"::ffff:127.0.0.1"},
	"meta.example.":           {"169.254.169.254", "fd00:ec2::254"},
	"both.example.":           {"93.184.215.14", "169.254.169.254"},
	"rebind.allowed.example.": {"127.0.0.1", "169.254.169.254", "10.77.0.1"},
}

// serveWorld is what runs in the namespaces of a World: an echo server, and a DNS
// server where there is none.
func serveWorld() error {
	tcp, err := net.Listen("tcp", fmt.Sprintf(":%d", echoPort))
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var noted []string
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(c, "%v %q", c.LocalAddr(), noted)
			}()
		}
	}()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, a := range addresses {
		ip := a.(*net.IPNet).IP
		if ip.IsLinkLocalUnicast() && ip.To4() == nil {
			continue
		}
		for port, answer := range map[int]func(p []byte) string{
			echoPort: func(p []byte) string { return fmt.Sprintf("%s %s", ip, p) },
			notePort: func(p []byte) string {
				mu.Lock()
				defer mu.Unlock()
				noted = append(noted, string(p))
				return "noted"
			},
		} {
			udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip, Port: port})
			if err != nil {
				return err
			}
			go func() {
				b := make([]byte, 2048)
				for {
					n, peer, err := udp.ReadFromUDP(b)
					if err != nil {
						return
					}
					_, _ = udp.WriteToUDP([]byte(answer(b[:n])), peer)
				}
			}()
		}
	}
	ready := make(chan error, 1)
	server := &dns.Server{Addr: fmt.Sprintf(":%d", dnsPort), Net: "udp", Handler: dns.HandlerFunc(answerFromZone),
		NotifyStartedFunc: func() { ready <- nil }}
	go func() { ready <- server.ListenAndServe() }()
	if err := <-ready; err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

func answerFromZone(w dns.ResponseWriter, q *dns.Msg) {
	a := new(dns.Msg).SetReply(q)
	name := strings.ToLower(q.Question[0].Name)
	records, known := zone[name]
	if !known {
		a.Rcode = dns.RcodeNameError
	}
	for _, record := range records {
		header := func(t uint16) dns.RR_Header {
			return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: 60}
		}
		if target, alias := strings.CutPrefix(record, "CNAME "); alias {
			a.Answer = append(a.Answer, &dns.CNAME{Hdr: header(dns.TypeCNAME), Target: target})
			name = target
			continue
		}
		ip := netip.MustParseAddr(record)
		switch {
		case ip.Is4() && q.Question[0].Qtype == dns.TypeA:
			a.Answer = append(a.Answer, &dns.A{Hdr: header(dns.TypeA), A: ip.AsSlice()})
		case ip.Is6() && q.Question[0].Qtype == dns.TypeAAAA:
			a.Answer = append(a.Answer, &dns.AAAA{Hdr: header(dns.TypeAAAA), AAAA: ip.AsSlice()})
		}
	}
	_ = w.WriteMsg(a)
}

var errNoProbes = errors.New("HOLT_TEST_PROBES is not set")

// probes are the targets that a guest is to try.
func probes() ([]string, error) {
	list := strings.Fields(os.Getenv("HOLT_TEST_PROBES"))
	if len(list) == 0 {
		return nil, errNoProbes
	}
	return list, nil
}
