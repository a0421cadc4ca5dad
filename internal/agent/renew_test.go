package agent

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// inRoot calls f on a thread that has a root of its own, with the files, with /proc, and
// with other names, mounts and networks than this machine. It is as the agent's: what it
// was before, from which the shelf is, is out of sight.
func inRoot(t *testing.T, files map[string]string, f func(s shelf) error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for namespaces of its own")
	}
	initramfs, dir := t.TempDir(), t.TempDir()
	done := make(chan error, 1)
	go func() { // the thread ends with the goroutine, and the mounts with it
		done <- func() error {
			isolateMounts(t)
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWUTS | unix.CLONE_NEWNET); err != nil {
				return err
			}
			if err := mountAt(dir, volume{kind: "tmpfs", source: "root"}); err != nil {
				return err
			}
			for name, content := range files {
				name = filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					return err
				}
				write := func() error { return os.WriteFile(name, []byte(content), 0o644) }
				if link, ok := cutLink(content); ok {
					write = func() error { return os.Symlink(link, name) }
				}
				if err := write(); err != nil {
					return err
				}
			}
			if err := mountAt(filepath.Join(dir, "proc"), volume{kind: "proc", source: "proc"}); err != nil {
				return err
			}
			if err := os.Mkdir(filepath.Join(dir, "dev"), 0o755); err != nil {
				return err
			}
			if err := unix.Mount("/dev", filepath.Join(dir, "dev"), "", unix.MS_BIND, ""); err != nil {
				return err
			}
			s, err := openShelf(initramfs)
			if err != nil {
				return err
			}
			if err := unix.Chroot(dir); err != nil {
				return err
			}
			if err := unix.Chdir("/"); err != nil {
				return err
			}
			return f(s)
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

const (
	machineID = "0123456789abcdef0123456789abcdef"
	bootID    = "01234567-89ab-4def-8123-456789abcdef"
)

// holds reports whether a file has a text.
func holds(name, want string) error {
	if b, err := os.ReadFile(name); err != nil || string(b) != want {
		return fmt.Errorf("%s has %q, %v; want %q", name, b, err, want)
	}
	return nil
}

// TestApply renews a guest twice: each time it has the new names everywhere, and nothing
// piles up.
func TestApply(t *testing.T) {
	inRoot(t, map[string]string{
		"etc/machine-id": "old\n", "var/lib/dbus/machine-id": "old\n", "etc/hosts": "old\n",
	}, func(s shelf) error {
		a := newAgent(reaper)
		n := testNetwork()
		a.shelf, a.network, a.hostname = s, &n, "holt"
		mounts := 0
		for i, r := range []agentproto.Renewal{
			{Hostname: "one", MachineID: machineID, BootID: bootID, Seed: make([]byte, 32)},
			{Hostname: "two", MachineID: strings.Repeat("f", 32), BootID: strings.Replace(bootID, "0", "f", 1)},
			{},
		} {
			r.ClockNS = time.Now().UnixNano() // what it is already
			if err := a.apply(r); err != nil {
				return err
			}
			if r.Hostname == "" {
				return nil
			}
			if name, err := os.Hostname(); err != nil || name != r.Hostname {
				return fmt.Errorf("host name %q, %v", name, err)
			}
			for name, want := range map[string]string{
				"/etc/machine-id": r.MachineID + "\n", "/var/lib/dbus/machine-id": r.MachineID + "\n",
				bootIDFile: r.BootID + "\n", "/etc/hosts": hostsFile(n, r.Hostname), "/etc/resolv.conf": resolvConf(n),
			} {
				if err := holds(name, want); err != nil {
					return err
				}
			}
			info, err := os.ReadFile("/proc/thread-self/mountinfo")
			if err != nil {
				return err
			}
			if now := strings.Count(string(info), "\n"); i == 0 {
				mounts = now
			} else if now != mounts {
				return fmt.Errorf("%d mounts became %d:\n%s", mounts, now, info)
			}
		}
		return nil
	})
}

// TestWriteIDs: no file is made, and none is written that is not the guest's own.
func TestWriteIDs(t *testing.T) {
	r := agentproto.Renewal{MachineID: machineID}
	for _, mine := range []bool{true, false} {
		for name, tt := range map[string]struct {
			files map[string]string
			want  map[string]string
		}{
			"none": {map[string]string{"etc/x": ""}, map[string]string{"/etc/machine-id": "", "/var/lib/dbus/machine-id": ""}},
			"one":  {map[string]string{"etc/machine-id": "o"}, map[string]string{"/etc/machine-id": machineID + "\n", "/var/lib/dbus/machine-id": ""}},
			"a link to it": {
				map[string]string{"etc/machine-id": "o", "var/lib/dbus/machine-id": "-> /etc/machine-id"},
				map[string]string{"/etc/machine-id": machineID + "\n", "/var/lib/dbus/machine-id": machineID + "\n"},
			},
			"a link to another": {
				map[string]string{"etc/machine-id": "-> ../run/id", "run/id": "o", "var/lib/dbus/machine-id": "-> /other", "other": "kept"},
				map[string]string{"/run/id": machineID + "\n", "/other": "kept"},
			},
			"two": {
				map[string]string{"etc/machine-id": "o", "var/lib/dbus/machine-id": "p"},
				map[string]string{"/etc/machine-id": machineID + "\n", "/var/lib/dbus/machine-id": machineID + "\n"},
			},
		} {
			inRoot(t, tt.files, func(s shelf) error {
				root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
				if err != nil {
					return err
				}
				defer unix.Close(root)
				below := map[string]int{} // the files themselves, whatever is mounted over them
				for f := range tt.files {
					if fd, err := unix.Open("/"+f, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
						defer unix.Close(fd)
						below[f] = fd
					}
				}
				e := &etc{root: root, shelf: &s, inMemory: func(int) (bool, error) { return mine, nil }}
				if err := writeIDs(e, r); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				for f, want := range tt.want {
					if _, err := os.Lstat(f); want == "" && os.IsNotExist(err) {
						continue
					}
					if err := holds(f, want); err != nil {
						return fmt.Errorf("%s: %w", name, err)
					}
				}
				for f, fd := range below {
					b := make([]byte, 64)
					n, err := unix.Pread(fd, b, 0)
					if err != nil || !mine && string(b[:n]) != tt.files[f] {
						return fmt.Errorf("%s: %s, which is not the guest's, has %q, %v", name, f, b[:n], err)
					}
				}
				return nil
			})
		}
	}
}

// TestRenewRefuses: what cannot be done is said, and nothing is started.
func TestRenewRefuses(t *testing.T) {
	g := newGuest(t)
	n := testNetwork()
	n.MAC = "02:00:00:00:00:77"
	p := sh("exit 0")
	r := agentproto.Renewal{Network: &n, OldMAC: "02:00:00:00:00:76", Program: &p}
	_, err := agentclient.Renew(g.ctx, g.dial(), r)
	if kind(err) != agentproto.KindInternal || !strings.Contains(err.Error(), "02:00:00:00:00:77") {
		t.Errorf("a network that is not there: %v", err)
	}
	if g.a.main.get() != nil {
		t.Error("the program was started")
	}
}

// TestRenewNetwork: the interface has the new addresses alone, each time it is asked to.
func TestRenewNetwork(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	isolateNetwork(t)
	if err := plugIn(); err != nil {
		t.Fatal(err)
	}
	old := testNetwork()
	if err := setUpNetwork(old, "/proc/sys/net"); err != nil {
		t.Fatal(err)
	}
	oldMAC := [6]byte{2, 0, 0, 0, 0, 1}
	n := testNetwork()
	n.MAC, n.MTU = "06:11:22:33:44:55", 1400
	n.Addresses = []netip.Prefix{prefix("198.51.100.7/24"), prefix("192.0.2.9/24")}
	n.Gateways = []netip.Addr{addr("198.51.100.1")}
	for range 2 {
		if err := renewNetwork(oldMAC, old, n, "/proc/sys/net"); err != nil {
			t.Fatal(err)
		}
		checkRenewed(t, n)
	}
	back := testNetwork()
	if err := renewNetwork([6]byte{6, 0x11, 0x22, 0x33, 0x44, 0x55}, n, back, "/proc/sys/net"); err != nil {
		t.Fatal(err)
	}
	checkRenewed(t, back)
	if routes := file(t, "/proc/thread-self/net/ipv6_route"); !strings.Contains(routes, "20010db8000000000000000000000001") {
		t.Errorf("IPv6 routes:\n%s", routes)
	}
	if err := renewNetwork([6]byte{2}, n, agentproto.Network{MAC: "02:00:00:00:00:99"}, "/proc/sys/net"); err == nil {
		t.Error("an interface that is not there is renewed")
	}
}

// checkRenewed compares this thread's interface with n.
func checkRenewed(t *testing.T, n agentproto.Network) {
	t.Helper()
	iface, err := net.InterfaceByName("test0")
	if err != nil {
		t.Fatal(err)
	}
	if iface.HardwareAddr.String() != n.MAC || iface.MTU != n.MTU || iface.Flags&net.FlagUp == 0 {
		t.Errorf("%+v", iface)
	}
	all, err := iface.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	var addrs []netip.Prefix
	for _, a := range all {
		if p := netip.MustParsePrefix(a.String()); !p.Addr().IsLinkLocalUnicast() {
			addrs = append(addrs, p)
		}
	}
	slices.SortFunc(addrs, netip.Prefix.Compare)
	if want := slices.SortedFunc(slices.Values(n.Addresses), netip.Prefix.Compare); !slices.Equal(addrs, want) {
		t.Errorf("addresses %v, want %v", addrs, want)
	}
	var gateways []string
	for line := range strings.Lines(file(t, "/proc/thread-self/net/route")) {
		if f := strings.Fields(line); f[0] == "test0" && f[1] == "00000000" {
			gateways = append(gateways, f[2])
		}
	}
	g := n.Gateways[0].As4()
	if want := fmt.Sprintf("%08X", binary.LittleEndian.Uint32(g[:])); len(gateways) != 1 || gateways[0] != want {
		t.Errorf("default routes through %v, want %s", gateways, want)
	}
}
