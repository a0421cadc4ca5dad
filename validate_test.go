package holt

import (
	"compress/gzip"
	"errors"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// host is a directory with one path of each kind.
type host struct{ dir string }

func newHost(t *testing.T) host {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"file": "text", "empty": "", "short": "\x1f\x8b\x08", "rootfs.gz": gzipped(t, "070701"), "tar.gz": gzipped(t, "a tape"), "vmlinux": "\x7fELF",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	return host{dir}
}

func gzipped(t *testing.T, content string) string {
	t.Helper()
	var b strings.Builder
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func (h host) path(name string) string { return filepath.Join(h.dir, name) }

// config is the smallest valid Config.
func (h host) config() Config {
	c := DefaultConfig()
	c.RootPath = h.path("root")
	c.ExecPath = "/bin/true"
	return c
}

func TestValidateAccepts(t *testing.T) {
	h := newHost(t)
	mapped := func(guest string) PathPair { return PathPair{Host: h.dir, Guest: guest} }
	for name, change := range map[string]func(*Config){
		"the smallest":             func(*Config) {},
		"one quota":                func(c *Config) { c.CPUQuotaUS = new(uint64(1000)) },
		"64 MiB":                   func(c *Config) { c.MemoryMB = 64 },
		"255 vCPUs":                func(c *Config) { c.VCPUCount = 255 },
		"a kernel":                 func(c *Config) { c.KernelPath = h.path("vmlinux") },
		"an archive root":          func(c *Config) { c.RootPath, c.RootfsPath = "", h.path("rootfs.gz") },
		"an overlay":               func(c *Config) { c.RootOverlay = true },
		"nested mappings":          func(c *Config) { c.MappedDirs = []PathPair{mapped("/a"), mapped("/a/b"), mapped("/devices")} },
		"one host directory twice": func(c *Config) { c.MappedDirs = []PathPair{mapped("/a"), mapped("/b")} },
		"a bare program name":      func(c *Config) { c.ExecPath = "true" },
		"a relative program":       func(c *Config) { c.ExecPath = "./bin/true" },
		"an empty argument":        func(c *Config) { c.Args = []string{"", "\xff"} },
		"a repeated variable":      func(c *Config) { c.Env = []EnvPair{{"A", "1"}, {"A", "2"}} },
		"bytes in a variable":      func(c *Config) { c.Env = []EnvPair{{"A", "\xff"}} },
		"a working directory":      func(c *Config) { c.WorkdirPath = "/not/on/the/host" },
		"two rlimits":              func(c *Config) { c.Rlimits = []Rlimit{{RlimitCPU, 1, 2}, {RlimitAS, 1, RlimInfinity}} },
		"a port on tcp and udp":    func(c *Config) { c.PortMap = []PortPair{{Host: 1, Guest: 1}, {Host: 1, Guest: 1, Protocol: UDP}} },
		"an address":               func(c *Config) { c.AssignedIP = netip.MustParseAddr("192.168.1.2") },
		"local ports": func(c *Config) {
			c.LocalOnly, c.PortMap = true, []PortPair{{Host: 1, Guest: 1}, {HostIP: netip.MustParseAddr("127.0.0.2"), Host: 2, Guest: 2}}
		},
		"a root disk":         func(c *Config) { c.RootPath, c.RootDisk, c.RootOverlay = "", Disk{h.path("file"), true}, true },
		"disks":               func(c *Config) { c.Disks = []Disk{{h.path("file"), true}, {h.path("empty"), false}} },
		"no network":          func(c *Config) { c.Network = NetworkNone },
		"rules":               func(c *Config) { c.NetworkRules = []NetworkRule{mustRule("deny any"), mustRule("deny any")} },
		"local twice":         func(c *Config) { c.Network, c.LocalOnly = NetworkLocal, true },
		"a prefix":            func(c *Config) { c.AssignedIP, c.AssignedPrefixLen = netip.MustParseAddr("10.9.0.1"), 29 },
		"a capture file":      func(c *Config) { c.PacketCapture = h.path("pcap") },
		"a new console file":  func(c *Config) { c.ConsoleOutput = h.path("console.log") },
		"an old console file": func(c *Config) { c.ConsoleOutput = h.path("file") },
		"a console device":    func(c *Config) { c.ConsoleOutput = "/dev/null" },
		"trace":               func(c *Config) { c.LogLevel = LogTrace },
	} {
		c := h.config()
		change(&c)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(h.path("console.log")); err == nil {
		t.Error("Validate created the console file")
	}
	if content, err := os.ReadFile(h.path("file")); err != nil || string(content) != "text" {
		t.Errorf("Validate left %q in the console file, %v", content, err)
	}
}

// Each change makes exactly one problem; DIR stands for the test's directory.
func TestValidateRefuses(t *testing.T) {
	h := newHost(t)
	pair := func(host, guest string) PathPair { return PathPair{Host: h.path(host), Guest: guest} }
	ports := func(texts ...string) (pairs []PortPair) {
		for _, text := range texts {
			p, err := ParsePortPair(text)
			if err != nil {
				t.Fatal(err)
			}
			pairs = append(pairs, p)
		}
		return pairs
	}
	type change = func(*Config)
	for _, test := range []struct {
		change change
		want   string
	}{
		{func(c *Config) { c.VCPUCount = 0 }, `vcpu_count: 0: must be at least 1`},
		{func(c *Config) { c.MemoryMB = 63 }, `memory_mb: 63: must be at least 64 (MiB)`},
		{func(c *Config) { c.CPUQuotaUS = new(uint64(999)) }, `cpu_quota_us: 999: must be at least 1000 (µs in each 100 ms)`},
		{func(c *Config) { c.KernelPath = h.path("nope") }, `kernel_path: "DIR/nope": must be an existing regular file: no such file or directory`},
		{func(c *Config) { c.KernelPath = h.path("root") }, `kernel_path: "DIR/root": must be an existing regular file: it is a directory`},
		{func(c *Config) { c.KernelPath = h.path("fifo") }, `kernel_path: "DIR/fifo": must be an existing regular file: it is neither a regular file nor a directory`},
		{func(c *Config) { c.KernelPath = "a\x00b" }, `kernel_path: "a\x00b": must not contain a NUL byte`},

		{func(c *Config) { c.RootPath = "" }, `root_path: must be set, or rootfs_path or root_disk instead: the guest needs a root filesystem`},
		{func(c *Config) { c.RootfsPath = h.path("rootfs.gz") }, `rootfs_path: "DIR/rootfs.gz": must not be set together with root_path; exactly one is the root`},
		{func(c *Config) { c.RootDisk = Disk{Path: h.path("file")} }, `root_disk: "DIR/file": must not be set together with root_path; exactly one is the root`},
		{func(c *Config) { c.RootPath, c.RootDisk = "", Disk{Path: h.path("nope")} }, `root_disk: "DIR/nope": must be an existing disk image or block device: no such file or directory`},
		{func(c *Config) { c.Disks = []Disk{{Path: h.path("fifo")}} }, `disks: "DIR/fifo": must be an existing disk image or block device: it is neither a regular file nor a directory`},
		{func(c *Config) { c.Disks = []Disk{{}} }, `disks: "": path is empty; must be file[:ro]`},
		{func(c *Config) { c.Disks = slices.Repeat([]Disk{{Path: h.path("file")}}, 17) }, `disks: 17: must be at most 16`},
		{func(c *Config) { c.RootPath = h.path("nope") }, `root_path: "DIR/nope": must be an existing directory: no such file or directory`},
		{func(c *Config) { c.RootPath = h.path("file") }, `root_path: "DIR/file": must be an existing directory: it is a regular file`},
		{func(c *Config) { c.RootPath = h.path("file/x") }, `root_path: "DIR/file/x": must be an existing directory: not a directory`},
		{func(c *Config) { c.RootPath = "\x00" }, `root_path: "\x00": must not contain a NUL byte`},
		{func(c *Config) { c.RootPath, c.RootfsPath = "", h.path("nope") }, `rootfs_path: "DIR/nope": must be a readable file: no such file or directory`},
		{func(c *Config) { c.RootPath, c.RootfsPath = "", h.path("fifo") }, `rootfs_path: "DIR/fifo": must be a regular file`},
		{func(c *Config) { c.RootPath, c.RootfsPath = "", h.path("file") }, `rootfs_path: "DIR/file": must be a gzip-compressed cpio archive: it is unknown, and starts with 74 65 78 74: make one in the root's directory with "find . | cpio -o -H newc | gzip"`},
		{func(c *Config) { c.RootPath, c.RootfsPath = "", h.path("empty") }, `rootfs_path: "DIR/empty": must be a gzip-compressed cpio archive: it is empty: make one in the root's directory with "find . | cpio -o -H newc | gzip"`},
		{func(c *Config) { c.RootPath, c.RootfsPath = "", h.path("short") }, `rootfs_path: "DIR/short": must be a gzip-compressed cpio archive: it ends in the middle of a gzip header: copy or make it again`},
		{func(c *Config) { c.RootPath, c.RootfsPath = "", h.path("tar.gz") }, `rootfs_path: "DIR/tar.gz": must be a gzip-compressed cpio archive: what gzip holds is unknown, and starts with 61 20 74 61 70 65: make one in the root's directory with "find . | cpio -o -H newc | gzip"`},
		{func(c *Config) { c.RootPath, c.RootfsPath = "", "a\x00b" }, `rootfs_path: "a\x00b": must not contain a NUL byte`},
		{func(c *Config) { c.RootPath, c.RootfsPath, c.RootOverlay = "", h.path("rootfs.gz"), true }, `root_overlay: true: must be used with root_path or root_disk; a rootfs_path root is in guest memory anyway`},

		{func(c *Config) { c.MappedDirs = []PathPair{pair("nope", "/a")} }, `mapped_dirs: "DIR/nope:/a": host path must be an existing directory: no such file or directory`},
		{func(c *Config) { c.MappedDirs = []PathPair{pair("file", "/a")} }, `mapped_dirs: "DIR/file:/a": host path must be an existing directory: it is a regular file`},
		{func(c *Config) { c.MappedDirs = []PathPair{pair("root", "/a"), pair("", "/a")} }, `mapped_dirs: "DIR:/a": guest path "/a" must be used only once`},
		{func(c *Config) { c.MappedDirs = []PathPair{pair("root", "/proc/x")} }, `mapped_dirs: "DIR/root:/proc/x": guest path "/proc/x" must not be in /proc, /sys, /dev`},
		{func(c *Config) { c.MappedDirs = []PathPair{pair("root", "/")} }, `mapped_dirs: "DIR/root:/": guest path must not be "/"; root_path is what becomes the root`},
		{func(c *Config) { c.MappedDirs = []PathPair{pair("root", "/a/")} }, `mapped_dirs: "DIR/root:/a/": guest path "/a/" must be clean: "/a"`},
		{func(c *Config) { c.MappedDirs = []PathPair{{}} }, `mapped_dirs: ":": host path is empty; must be host:guest[:ro] or path`},

		{func(c *Config) { c.ExecPath = "" }, `exec_path: must be set to the program to run: an absolute path, or a name to look up in the guest's PATH`},
		{func(c *Config) { c.ExecPath = "a\x00" }, `exec_path: "a\x00": must not contain a NUL byte`},
		{func(c *Config) { c.Args = []string{"ok", "a\x00b"} }, `args: "a\x00b": must not contain a NUL byte`},
		{func(c *Config) { c.Env = []EnvPair{{"1A", "x"}} }, `env: "1A=x": key "1A" must match [A-Za-z_][A-Za-z0-9_]*`},
		{func(c *Config) { c.Env = []EnvPair{{"A", "\x00"}} }, `env: "A=\x00": must not contain a NUL byte`},
		{func(c *Config) { c.WorkdirPath = "work" }, `workdir_path: "work": must be an absolute path in the guest`},
		{func(c *Config) { c.WorkdirPath = "/\x00" }, `workdir_path: "/\x00": must not contain a NUL byte`},

		{func(c *Config) { c.Rlimits = []Rlimit{{RlimitCPU, 2, 1}} }, `rlimits: "RLIMIT_CPU=2:1": soft limit 2 must be at most the hard limit 1`},
		{func(c *Config) { c.Rlimits = []Rlimit{{RlimitCPU, 1, 1}, {RlimitAS, 1, 1}, {RlimitCPU, 2, 2}} }, `rlimits: "RLIMIT_CPU=2:2": RLIMIT_CPU must be limited only once`},

		{func(c *Config) { c.PortMap = []PortPair{{Host: 0, Guest: 80}} }, `port_map: "0:80": host port "0" must be a number from 1 to 65535`},
		{func(c *Config) { c.PortMap = ports("8080:80", "127.0.0.1:8080:81") }, `port_map: "127.0.0.1:8080:81": host port 8080/tcp must be published only once for an address; "8080:80" has it`},
		{func(c *Config) { c.PortMap = ports("10.0.0.1:53:53/udp", "0.0.0.0:53:53/udp") }, `port_map: "0.0.0.0:53:53/udp": host port 53/udp must be published only once for an address; "10.0.0.1:53:53/udp" has it`},
		{func(c *Config) { c.LocalOnly, c.PortMap = true, ports("0.0.0.0:80:80") }, `port_map: "0.0.0.0:80:80": must name a loopback address, or none, when the network is local`},
		{func(c *Config) { c.LocalOnly, c.PortMap = true, ports("10.0.0.1:80:80") }, `port_map: "10.0.0.1:80:80": must name a loopback address, or none, when the network is local`},
		{func(c *Config) { c.Network, c.PortMap = NetworkLocal, ports("10.0.0.1:80:80") }, `port_map: "10.0.0.1:80:80": must name a loopback address, or none, when the network is local`},
		{func(c *Config) { c.Network, c.LocalOnly = NetworkAll, true }, `local_only: true: must not be set together with network "all"; it means "local"`},
		{func(c *Config) { c.Network = 9 }, `network: 9: must be one of none, local, public, all`},
		{func(c *Config) { c.Network, c.PortMap = NetworkNone, ports("80") }, `port_map: must not be set when network is "none": the guest has no network device`},
		{func(c *Config) { c.Network, c.PacketCapture = NetworkNone, h.path("pcap") }, `packet_capture: must not be set when network is "none": the guest has no network device`},
		{func(c *Config) { c.DNSServers = []netip.AddrPort{{}} }, `dns_servers: "invalid AddrPort": must be the address of a DNS server: 192.0.2.1, 192.0.2.1:5353 or [2001:db8::1]:53`},
		{func(c *Config) { c.PacketCapture = h.path("root") }, `packet_capture: "DIR/root": must be a file: it is a directory`},
		{func(c *Config) { c.AssignedPrefixLen = 24 }, `assigned_prefix_len: 24: must be set together with assigned_ip`},
		{func(c *Config) { c.AssignedIP, c.AssignedPrefixLen = netip.MustParseAddr("10.0.0.1"), 30 }, `assigned_prefix_len: 30: must be from 8 to 29 (bits)`},
		{func(c *Config) { c.AssignedIP = netip.MustParseAddr("10.0.0.255") }, `assigned_ip: "10.0.0.255/24": is the network's own or its broadcast address`},
		{func(c *Config) { c.AssignedIP = netip.MustParseAddr("fd00::1") }, `assigned_ip: "fd00::1": must be an IPv4 address, such as 10.0.2.15`},
		{func(c *Config) { c.AssignedIP, c.AssignedPrefixLen = netip.MustParseAddr("fd00::1"), 64 }, `assigned_ip: "fd00::1": must be an IPv4 address, such as 10.0.2.15`},
		{func(c *Config) { c.AssignedIP = netip.MustParseAddr("::ffff:10.0.0.1") }, `assigned_ip: "::ffff:10.0.0.1": must be an IPv4 address, such as 10.0.2.15`},
		{func(c *Config) { c.AssignedIP = netip.MustParseAddr("0.0.0.0") }, `assigned_ip: "0.0.0.0/24": 0.0.0.0/8 has no hosts`},
		{func(c *Config) { c.AssignedIP = netip.MustParseAddr("127.0.0.1") }, `assigned_ip: "127.0.0.1/24": must not be a loopback address`},
		{func(c *Config) { c.AssignedIP = netip.MustParseAddr("224.0.0.1") }, `assigned_ip: "224.0.0.1/24": must not be a multicast or reserved address`},
		{func(c *Config) { c.AssignedIP = netip.MustParseAddr("255.255.255.255") }, `assigned_ip: "255.255.255.255/24": must not be a multicast or reserved address`},

		{func(c *Config) { c.ConsoleOutput = h.path("nope/log") }, `console_output: "DIR/nope/log": its directory must be an existing directory: no such file or directory`},
		{func(c *Config) { c.ConsoleOutput = h.path("file/log") }, `console_output: "DIR/file/log": must be a writable file: not a directory`},
		{func(c *Config) { c.ConsoleOutput = h.path("root") }, `console_output: "DIR/root": must be a file: it is a directory`},
		{func(c *Config) { c.ConsoleOutput = "log\x00" }, `console_output: "log\x00": must not contain a NUL byte`},
		{func(c *Config) { c.LogLevel = 6 }, `log_level: 6: must be one of off, error, warn, info, debug, trace`},
	} {
		c := h.config()
		test.change(&c)
		err := c.Validate()
		if err == nil {
			t.Errorf("accepted; want %s", test.want)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), h.dir, "DIR"); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
		var field *FieldError
		if !errors.As(err, &field) || !strings.HasPrefix(test.want, field.Field+": ") {
			t.Errorf("%v: FieldError %+v", err, field)
		}
	}
}

func TestValidateReportsEveryProblem(t *testing.T) {
	err := Config{
		MemoryMB:      1,
		CPUQuotaUS:    new(uint64(0)),
		KernelPath:    "/nope/kernel",
		RootPath:      "/nope/root",
		RootfsPath:    "/nope/rootfs",
		MappedDirs:    []PathPair{{Host: "/nope", Guest: "/a"}, {Host: "/", Guest: "a"}},
		Args:          []string{"\x00", "fine", "\x00"},
		Env:           []EnvPair{{}},
		WorkdirPath:   "w",
		Rlimits:       []Rlimit{{Resource: math.MaxUint8}},
		PortMap:       []PortPair{{}},
		AssignedIP:    netip.IPv6Loopback(),
		ConsoleOutput: "/nope/console/log",
		LogLevel:      math.MaxUint8,
	}.Validate()
	want := []string{
		"vcpu_count", "memory_mb", "cpu_quota_us", "kernel_path", "rootfs_path", "root_path", "rootfs_path",
		"mapped_dirs", "mapped_dirs", "exec_path", "args", "args", "env", "workdir_path", "rlimits",
		"port_map", "assigned_ip", "console_output", "log_level",
	}
	if got := fieldsOf(t, err); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("problems with %v\nwant          %v", got, want)
	}
	if !errors.Is(err, unix.ENOENT) {
		t.Error("the cause of a missing file is lost")
	}
}

// fieldsOf returns the fields that a joined error complains about, in order.
func fieldsOf(t *testing.T, err error) []string {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%v is not a joined error", err)
	}
	var fields []string
	for _, err := range joined.Unwrap() {
		field, ok := err.(*FieldError)
		if !ok {
			t.Fatalf("%v is not a *FieldError", err)
		}
		fields = append(fields, field.Field)
	}
	return fields
}

func TestValidateWantsWritableConsole(t *testing.T) {
	// Relative paths: nobody may not enter the temporary directory's parent.
	t.Chdir(newHost(t).dir)
	for _, test := range []struct {
		entry string // whose mode is set
		mode  os.FileMode
		path  string
		want  string
	}{
		{"file", 0o666, "file", ""},
		{"file", 0o444, "file", "must be writable: permission denied"},
		{"root", 0o777, "root/new", ""},
		{"root", 0o555, "root/new", "its directory must be writable: permission denied"},
	} {
		if err := os.Chmod(test.entry, test.mode); err != nil {
			t.Fatal(err)
		}
		got := ""
		asNobody(t, func() {
			if err := checkOutputFile(test.path); err != nil {
				got = err.Error()
			}
		})
		if got != test.want {
			t.Errorf("%s with %s %v: %q, want %q", test.path, test.entry, test.mode, got, test.want)
		}
	}
}

// asNobody calls f with the real user id of nobody if the test runs as root,
// whom no file mode stops. It is the thread's id, so the thread dies with it.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	const nobody, unchanged = 65534, ^uintptr(0)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock
		if os.Getuid() == 0 {
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, unchanged, unchanged); errno != 0 {
				done <- errno
				return
			}
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatalf("become nobody: %v", err)
	}
}

// TestRootDiskBelowAnOverlay: such a disk is only read, so nobody needs permission to
// write it.
func TestRootDiskBelowAnOverlay(t *testing.T) {
	h := newHost(t)
	t.Chdir(h.dir)
	if err := os.Chmod("file", 0o444); err != nil {
		t.Fatal(err)
	}
	c := h.config()
	c.RootPath, c.RootDisk = "", Disk{Path: "file"}
	asNobody(t, func() {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "must be writable, or be given with :ro") {
			t.Errorf("without an overlay: %v", err)
		}
		c.RootOverlay = true
		if err := c.Validate(); err != nil {
			t.Errorf("with an overlay: %v", err)
		}
	})
}
