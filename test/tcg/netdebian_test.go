//go:build tcg

package tcg

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/holtvm/holt/internal/vmtest"
)

// toolScript is run in the guest; each line that it prints is one tool's success.
const toolScript = `
set -e
[ "$(curl -sS http://host.holt.internal:$HTTP/hello)" = "hello from the host" ] && echo curl
[ "$(curl -sS -6 http://host.holt.internal:$HTTP/hello)" = "hello from the host" ] && echo curl over IPv6
curl -s --connect-timeout 5 http://host.holt.internal:$CLOSED/ || [ $? = 7 ] && echo curl is refused
[ "$(printf ping | timeout 10 nc -4u -w 5 -W 1 host.holt.internal $UDP)" = "ping back" ] && echo nc
ping -c 2 -i 0.2 -W 5 host.holt.internal >/dev/null && echo ping
ping -6 -c 2 -i 0.2 -W 5 host.holt.internal >/dev/null && echo ping over IPv6
[ "$(dig +short host.holt.internal)" = "10.0.2.2" ] && echo dig
[ "$(dig +short AAAA host.holt.internal)" = "fd68:6f6c:7400::2" ] && echo dig AAAA
[ "$(dig +short +tcp host.holt.internal)" = "10.0.2.2" ] && echo dig over TCP
dig nothing.holt.internal | grep -q NXDOMAIN && echo dig says no
iperf3 -c host.holt.internal -p $IPERF -t 1 >/dev/null && echo iperf3
iperf3 -c host.holt.internal -p $IPERF -t 1 -R >/dev/null && echo iperf3 back
iperf3 -c host.holt.internal -p $IPERF -t 1 -u -b 20M >/dev/null && echo iperf3 UDP
`

// TestNetworkTools: the programs that everybody has, against servers on the host's
// loopback.
func TestNetworkTools(t *testing.T) {
	root := vmtest.DebianRoot(t)
	httpPort := serveHTTP(t)
	udp := listenUDP(t)
	go func() {
		b := make([]byte, 2048)
		for {
			n, peer, err := udp.ReadFromUDP(b)
			if err != nil {
				return
			}
			_, _ = udp.WriteToUDP(append(b[:n:n], " back"...), peer)
		}
	}()
	iperf := freePort(t)
	server := exec.Command("iperf3", "-s", "-p", strconv.Itoa(iperf))
	if err := server.Start(); err != nil {
		t.Fatalf("%v (`make deps-test` installs it)", err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	var want strings.Builder
	for line := range strings.Lines(toolScript) {
		if _, what, ok := strings.Cut(line, "&& echo "); ok {
			want.WriteString(what)
		}
	}
	r := vmtest.Run(t, "run", "--rootfs", root, "--overlay", "--network", "local",
		"-e", fmt.Sprint("HTTP=", httpPort), "-e", fmt.Sprint("UDP=", udp.LocalAddr().(*net.UDPAddr).Port),
		"-e", fmt.Sprint("IPERF=", iperf), "-e", fmt.Sprint("CLOSED=", freePort(t)),
		"--", "sh", "-c", toolScript)
	r.Want(t, 0, want.String())
}

// TestNetworkNames: names come from the server of --dns, and the guest's files say
// who is who.
func TestNetworkNames(t *testing.T) {
	conn := listenUDP(t)
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(answerFromZone)}
	go server.ActivateAndServe()
	t.Cleanup(func() { server.Shutdown() })
	r := vmtest.Run(t, "run", "--dns", conn.LocalAddr().String(), "--ip", "10.9.8.7/20", "--", "sh", "-c",
		`nslookup one.example | grep -o '93.184.215.14\|2606:2800:21f::14' | sort; hostname -i; grep -c nameserver /etc/resolv.conf; ip -4 route show default | cut -d' ' -f3; grep host.holt.internal /etc/hosts | tr -s ' \t' ' '`)
	r.Want(t, 0, "2606:2800:21f::14\n93.184.215.14\n10.9.8.7\n2\n10.9.0.1\n10.9.0.2 host.holt.internal\nfd68:6f6c:7400::2 host.holt.internal\n")
}

// TestPublishedPorts: nginx in a guest and clients on the host.
func TestPublishedPorts(t *testing.T) {
	root := vmtest.DebianRoot(t)
	port, python := freePort(t), freePort(t)
	const config = `worker_processes 1; worker_rlimit_nofile 8192; events { worker_connections 4096; }
error_log /dev/stderr; pid /tmp/nginx.pid;
http { access_log off; keepalive_requests 1000000; keepalive_timeout 600s; server { listen 80 backlog=2048; listen [::]:80 backlog=2048; location / { return 200 "hello from the guest\n"; } } }`
	p := vmtest.Start(t, "run", "--rootfs", root, "--overlay", "-m", "512M",
		"-p", fmt.Sprintf("%d:80", port), "-p", fmt.Sprintf("127.0.0.1:%d:8000", python),
		"--rlimit", "RLIMIT_NOFILE=8192", "-e", "CONFIG="+config, "--",
		"sh", "-c", `echo "$CONFIG" > /tmp/nginx.conf; cd /usr/share; python3 -m http.server 8000 >/dev/null 2>&1 & exec nginx -c /tmp/nginx.conf -g 'daemon off;'`)
	t.Cleanup(func() {
		_ = p.Cmd.Process.Signal(os.Interrupt)
		p.Wait(t)
	})
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	for _, where := range []string{url, fmt.Sprintf("http://[::1]:%d/", port), fmt.Sprintf("http://127.0.0.1:%d/", python)} {
		vmtest.WaitFor(t, func() bool {
			r, err := http.Get(where)
			if err != nil {
				return false
			}
			defer r.Body.Close()
			return r.StatusCode == http.StatusOK
		}, func() string { return "nothing serves " + where })
	}
	t.Run("requests", func(t *testing.T) { load(t, url, 10_000, 32) })
	t.Run("connections", func(t *testing.T) { hold(t, fmt.Sprintf("127.0.0.1:%d", port), 1000) })
}

// load makes n requests, most of them over new connections.
func load(t *testing.T, url string, n, clients int) {
	var left atomic.Int64
	left.Store(int64(n))
	var failures sync.Map
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%4 != 0}, Timeout: 30 * time.Second}
			for left.Add(-1) >= 0 {
				r, err := client.Get(url)
				if err == nil {
					var b []byte
					b, err = io.ReadAll(r.Body)
					r.Body.Close()
					if err == nil && string(b) != "hello from the guest\n" {
						err = fmt.Errorf("%s: %q", r.Status, b)
					}
				}
				if err != nil {
					failures.Store(err.Error(), true)
				}
			}
		})
	}
	group.Wait()
	failures.Range(func(text, _ any) bool {
		t.Error(text)
		return true
	})
}

// hold opens n connections, then uses each.
func hold(t *testing.T, address string, n int) {
	var conns []net.Conn
	for i := range n {
		c, err := net.DialTimeout("tcp", address, 30*time.Second)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	const request = "GET / HTTP/1.1\r\nHost: guest\r\n\r\n"
	for _, c := range conns {
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range conns {
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 12)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "HTTP/1.1 200" {
			t.Fatalf("connection %d: %q, %v", i, b, err)
		}
	}
}

// TestTakenPort: the error comes before any boot and names the port.
func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := vmtest.Run(t, "run", "-p", l.Addr().String()+":80", "--", "echo", "booted")
	if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, l.Addr().String()) || !strings.Contains(r.Stderr, "address already in use") {
		t.Errorf("exit status %d, %q, %q", r.Code, r.Stdout, r.Stderr)
	}
}

func serveHTTP(t *testing.T) (port int) {
	t.Helper()
	port = freePort(t)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello from the host") })}
	for _, address := range []string{"127.0.0.1", "[::1]"} {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address, port))
		if err != nil {
			t.Fatal(err)
		}
		go server.Serve(l)
	}
	t.Cleanup(func() { _ = server.Shutdown(context.WithoutCancel(t.Context())) })
	return port
}

func listenUDP(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// freePort is a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
