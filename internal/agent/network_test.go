package agent

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// isolate gives this goroutine's thread, which ends with it, its own namespaces.
func isolate(t *testing.T, namespaces int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for namespaces of its own")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(namespaces); err != nil {
		t.Fatalf("make namespaces: %v", err)
	}
}

func testNetwork() agentproto.Network {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	return agentproto.Network{
		MAC: "02:00:00:00:00:01", MTU: 9000,
		Addresses:   []netip.Prefix{prefix("192.0.2.2/24"), prefix("2001:db8::2/64")},
		Gateways:    []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1")},
		Nameservers: []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1")},
		Search:      []string{"example.org", "test"},
		Hosts:       []agentproto.HostEntry{{Addr: addr("192.0.2.254"), Names: []string{"host.holt.internal", "host"}}},
	}
}

// addPair makes an interface with the address 02:00:00:00:00:01 and, with another
// one, the other end of its cable. It has a link when that is up.
func addPair() error {
	s, err := openNetlink()
	if err != nil {
		return err
	}
	defer s.Close()
	kind := (&netlinkRequest{}).attr(unix.IFLA_INFO_KIND, []byte("veth"))
	return s.do(newRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ifInfo(0, 0, 0)).
		attr(unix.IFLA_ADDRESS, []byte{2, 0, 0, 0, 0, 1}).
		attr(unix.IFLA_IFNAME, []byte("test0\x00")).
		attr(unix.IFLA_LINKINFO, kind.b), nil)
}

// plugIn sets the other end up.
func plugIn() error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	s, err := openNetlink()
	if err != nil {
		return err
	}
	defer s.Close()
	for _, i := range interfaces {
		if i.Name != "test0" && i.Flags&net.FlagLoopback == 0 {
			err = errors.Join(err, s.do(upRequest(int32(i.Index), 1500), nil))
		}
	}
	return err
}

// isolateNetwork gives this goroutine's thread a network with addPair's interfaces.
func isolateNetwork(t *testing.T) {
	t.Helper()
	isolate(t, unix.CLONE_NEWNET)
	if err := addPair(); errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("this kernel has no veth interfaces")
	} else if err != nil {
		t.Fatal(err)
	}
}

// later calls f on another thread in this one's network after a moment, and sends its
// error.
func later(t *testing.T, f func() error) <-chan error {
	t.Helper()
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		defer ns.Close()
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		time.Sleep(30 * time.Millisecond)
		done <- f()
	}()
	return done
}

// file is a file of /proc as this thread sees it.
func file(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSetUpNetwork(t *testing.T) {
	isolateNetwork(t)
	n := testNetwork()
	n.Gateways[1] = netip.MustParseAddr("2001:db8:1::1") // outside of the network
	if err := plugIn(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := setUpNetwork(n, "/proc/sys/net"); err != nil {
		t.Fatal(err)
	}
	t.Logf("took %v", time.Since(begin))

	iface, err := net.InterfaceByName("test0")
	if err != nil {
		t.Fatal(err)
	}
	if iface.MTU != n.MTU || iface.Flags&net.FlagUp == 0 {
		t.Errorf("%+v", iface)
	}
	addrs, err := iface.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range n.Addresses {
		if !slices.ContainsFunc(addrs, func(a net.Addr) bool { return a.String() == want.String() }) {
			t.Errorf("addresses %v lack %s", addrs, want)
		}
	}
	// Gateway and address in the bytes' order of memory.
	if routes := file(t, "/proc/thread-self/net/route"); !strings.Contains(routes, "test0\t00000000\t010200C0\t0003") {
		t.Errorf("routes:\n%s", routes)
	}
	if routes := file(t, "/proc/thread-self/net/ipv6_route"); !strings.Contains(routes, "20010db8000100000000000000000001") {
		t.Errorf("IPv6 routes:\n%s", routes)
	}
	for line := range strings.Lines(file(t, "/proc/thread-self/net/if_inet6")) {
		// Address, index, prefix, scope, flags, name. The kernel's own address, of
		// another scope, is not used until somebody asks for it.
		f := strings.Fields(line)
		flags, err := strconv.ParseUint(f[4], 16, 32)
		if f[5] == "test0" && f[3] == "00" && (err != nil || flags&unix.IFA_F_TENTATIVE != 0) {
			t.Errorf("an address that cannot be used yet: %s", line)
		}
	}
	if got := strings.Fields(file(t, "/proc/sys/net/ipv4/ping_group_range")); !slices.Equal(got, []string{"0", "2147483647"}) {
		t.Errorf("ping_group_range %q", got)
	}
	if got := file(t, "/proc/sys/net/ipv6/conf/test0/accept_ra"); got != "0\n" {
		t.Errorf("accept_ra %q", got)
	}
}

// TestSetUpNetworkWithoutIPv6: what IPv6 there is in the specification is left out.
func TestSetUpNetworkWithoutIPv6(t *testing.T) {
	isolateNetwork(t)
	if err := plugIn(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
		t.Skipf("this kernel has no IPv6 to disable: %v", err)
	}
	if err := setUpNetwork(testNetwork(), "/proc/sys/net"); err != nil {
		t.Fatal(err)
	}
	if addrs := file(t, "/proc/thread-self/net/if_inet6"); strings.Contains(addrs, "test0") {
		t.Errorf("IPv6 addresses:\n%s", addrs)
	}
}

func TestAwaitLink(t *testing.T) {
	isolate(t, unix.CLONE_NEWNET)
	s, err := openNetlink()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if l, err := s.awaitLink([6]byte{2, 0, 0, 0, 0, 1}, 10*time.Millisecond); err != nil || l.index != 0 {
		t.Errorf("found %+v, %v", l, err)
	}
	added := later(t, addPair)
	l, err := s.awaitLink([6]byte{2, 0, 0, 0, 0, 1}, time.Second)
	if err := <-added; err != nil {
		t.Skipf("make an interface: %v", err)
	}
	if err != nil || l.name != "test0" {
		t.Errorf("found %+v, %v", l, err)
	}
}

// TestNetworkWaitsForTheLink: what a program sends first is not lost.
func TestNetworkWaitsForTheLink(t *testing.T) {
	isolateNetwork(t)
	plugged := later(t, plugIn)
	begin := time.Now()
	if err := setUpNetwork(testNetwork(), "/proc/sys/net"); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	if err := <-plugged; err != nil {
		t.Fatal(err)
	}
	if took < 30*time.Millisecond || took > 900*time.Millisecond {
		t.Errorf("took %v, the link came after 30ms", took)
	}
}

func TestSetUpNetworkNamesWhatIsMissing(t *testing.T) {
	n := testNetwork()
	n.MAC = "02"
	if err := setUpNetwork(n, t.TempDir()); err == nil || !strings.Contains(err.Error(), "mac") {
		t.Errorf("error %v", err)
	}
}

func TestQuietIPv6(t *testing.T) {
	conf := t.TempDir()
	if on, err := quietIPv6(filepath.Join(conf, "none")); on || err != nil {
		t.Errorf("a kernel without: %v, %v", on, err)
	}
	for name, value := range map[string]string{"disable_ipv6": "0\n", "accept_ra": "1\n", "accept_dad": "1\n"} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if on, err := quietIPv6(conf); !on || err != nil {
		t.Errorf("%v, %v", on, err)
	}
	if b, err := os.ReadFile(filepath.Join(conf, "accept_ra")); err != nil || !bytes.HasPrefix(b, []byte("0")) {
		t.Errorf("accept_ra %q, %v", b, err)
	}
	if err := os.WriteFile(filepath.Join(conf, "disable_ipv6"), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if on, err := quietIPv6(conf); on || err != nil {
		t.Errorf("disabled: %v, %v", on, err)
	}
}
