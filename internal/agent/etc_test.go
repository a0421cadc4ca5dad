package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

func TestResolvConf(t *testing.T) {
	want := "nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch example.org test\n"
	if got := resolvConf(testNetwork()); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := resolvConf(agentproto.Network{}); got != "" {
		t.Errorf("without name servers: %q", got)
	}
}

func TestHostsFile(t *testing.T) {
	const loopback = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	n := testNetwork()
	want := loopback + "192.0.2.2\tholt\n2001:db8::2\tholt\n192.0.2.254\thost.holt.internal host\n"
	if got := hostsFile(n, "holt"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	n.Addresses, n.Hosts = n.Addresses[:1], nil
	if got, want := hostsFile(n, "web.example.org"), loopback+"192.0.2.2\tweb.example.org web\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := hostsFile(n, ""); got != loopback {
		t.Errorf("without a name: %q", got)
	}
}

// TestFilesHaveNoOtherLines: what would add a line to the files never comes here.
func TestFilesHaveNoOtherLines(t *testing.T) {
	const evil = "a\n192.0.2.66 bank.example"
	for name, change := range map[string]func(*agentproto.BootSpec){
		"host name":   func(s *agentproto.BootSpec) { s.Hostname = evil },
		"host":        func(s *agentproto.BootSpec) { s.Network.Hosts[0].Names[1] = evil },
		"search":      func(s *agentproto.BootSpec) { s.Network.Search[0] = evil },
		"name server": func(s *agentproto.BootSpec) { s.Network.Nameservers[0] = netip.MustParseAddr("fe80::1%" + evil) },
		"address":     func(s *agentproto.BootSpec) { s.Network.Hosts[0].Addr = netip.MustParseAddr("fe80::1%" + evil) },
	} {
		n := testNetwork()
		spec := agentproto.BootSpec{
			Mounts:  []agentproto.Mount{{Tag: "root", Target: "/"}},
			Network: &n, Program: agentproto.Program{Path: "/init"},
		}
		if err := spec.Validate(); err != nil {
			t.Fatal(err)
		}
		if change(&spec); spec.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// tree makes a directory with files, "" being a directory and "-> x" a symbolic link.
func tree(t *testing.T, files map[string]string) (root int, dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		switch link, ok := cutLink(content); {
		case err != nil:
		case ok:
			err = os.Symlink(link, p)
		case content == "":
			err = os.MkdirAll(p, 0o755)
		default:
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(root) })
	return root, dir
}

func cutLink(s string) (string, bool) {
	if len(s) > 3 && s[:3] == "-> " {
		return s[3:], true
	}
	return "", false
}

// isolateMounts gives this goroutine's thread mounts of its own.
func isolateMounts(t *testing.T) {
	t.Helper()
	isolate(t, unix.CLONE_NEWNS)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
}

// mountPoint is a directory on which the test may mount.
func mountPoint(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	unmountAfter(t, dir)
	return dir
}

// unmountAfter takes away what the test mounted on dir, which could not be removed
// otherwise.
func unmountAfter(t *testing.T, dir string) {
	t.Helper()
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // nothing, perhaps
}

// shelfIn is a shelf in a directory of the test's.
func shelfIn(t *testing.T) *shelf {
	t.Helper()
	dir := t.TempDir()
	unmountAfter(t, filepath.Join(dir, shelfDir))
	s, err := openShelf(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Close(s.initramfs)
		if s.made {
			_ = unix.Close(s.dir)
		}
	})
	return &s
}

const etcText = "made by the test\n"

// TestPutInMemory: in a tree of the guest's own the file itself is written, wherever
// inside of the tree it is.
func TestPutInMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		at    string // where the text is then; "" if nowhere
		fails bool
	}{
		"a file":                  {map[string]string{"etc/hosts": "a much longer text than the new one\n"}, "etc/hosts", false},
		"no file":                 {map[string]string{"etc": ""}, "etc/hosts", false},
		"no directory":            {nil, "etc/hosts", false},
		"a link":                  {map[string]string{"etc/hosts": "-> ../run/hosts", "run/hosts": "x"}, "run/hosts", false},
		"a dangling link":         {map[string]string{"etc/hosts": "-> ../run/systemd/resolve/hosts", "run": ""}, "run/systemd/resolve/hosts", false},
		"an absolute link":        {map[string]string{"etc/hosts": "-> /run/a/hosts"}, "run/a/hosts", false},
		"a link out of the tree":  {map[string]string{"etc/hosts": "-> ../../../../../../../../x/hosts"}, "x/hosts", false},
		"the directory a link":    {map[string]string{"etc": "-> /private/etc", "private/etc": ""}, "private/etc/hosts", false},
		"a loop":                  {map[string]string{"etc/hosts": "-> hosts"}, "", true},
		"a directory":             {map[string]string{"etc/hosts": ""}, "", true},
		"no directory but a file": {map[string]string{"etc": "x"}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			root, dir := tree(t, tt.files)
			e := etc{root: root, shelf: shelfIn(t), inMemory: func(int) (bool, error) { return true, nil }}
			if err := e.put("/etc/hosts", etcText); (err != nil) != tt.fails {
				t.Errorf("error %v", err)
			}
			if tt.at == "" {
				return
			}
			if b, err := os.ReadFile(filepath.Join(dir, tt.at)); err != nil || string(b) != etcText {
				t.Errorf("%s has %q, %v", tt.at, b, err)
			}
		})
	}
}

// TestPutOnTheHostsFiles: in a tree that is shared nothing changes but that an empty
// file may be made, and the guest sees the text.
func TestPutOnTheHostsFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		at    string // where the text is then; "" if nowhere
		below string // what is there without the mount
	}{
		"a file":          {map[string]string{"etc/hosts": "the user's own\n"}, "etc/hosts", "the user's own\n"},
		"no file":         {map[string]string{"etc": ""}, "etc/hosts", ""},
		"a link":          {map[string]string{"etc/hosts": "-> ../usr/hosts", "usr/hosts": "x"}, "usr/hosts", "x"},
		"no directory":    {nil, "", ""},
		"a dangling link": {map[string]string{"etc/hosts": "-> ../no/hosts"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			isolateMounts(t)
			root, dir := tree(t, tt.files)
			e := etc{root: root, shelf: shelfIn(t), inMemory: func(int) (bool, error) { return false, nil }}
			if err := e.put("/etc/hosts", etcText); err != nil {
				t.Fatal(err)
			}
			if tt.at == "" {
				if names, err := filepath.Glob(filepath.Join(dir, "*/hosts")); err != nil || len(names) > len(tt.files) {
					t.Errorf("made %v, %v", names, err)
				}
				return
			}
			file := filepath.Join(dir, tt.at)
			if b, err := os.ReadFile(file); err != nil || string(b) != etcText {
				t.Errorf("%s has %q, %v", tt.at, b, err)
			}
			if err := os.WriteFile(file, []byte("the guest's"), 0); err != nil {
				t.Errorf("root in the guest cannot write it: %v", err)
			}
			if err := unix.Unmount(file, 0); err != nil {
				t.Fatalf("there is no mount: %v", err)
			}
			if b, err := os.ReadFile(file); err != nil || string(b) != tt.below {
				t.Errorf("below the mount is %q, %v", b, err)
			}
		})
	}
}

// TestPutOnReadOnlyRoot: a file that is there is mounted over, even in memory, and one
// that is not is done without.
func TestPutOnReadOnlyRoot(t *testing.T) {
	isolateMounts(t)
	_, dir := tree(t, map[string]string{"etc/hosts": "x"})
	for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
		if err := unix.Mount(dir, dir, "", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	unmountAfter(t, dir)
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	e := etc{root: root, shelf: shelfIn(t), inMemory: func(int) (bool, error) { return true, nil }}
	for _, name := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		if err := e.put(name, etcText); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "etc/hosts")); err != nil || string(b) != etcText {
		t.Errorf("hosts has %q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/resolv.conf")); !os.IsNotExist(err) {
		t.Errorf("resolv.conf on a read-only root: %v", err)
	}
}

func TestInMemory(t *testing.T) {
	for name, want := range map[string]bool{"/proc": false, "/sys": false} {
		fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := inMemory(fd); got != want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		_ = unix.Close(fd)
	}
	isolateMounts(t)
	dir := mountPoint(t)
	if err := mountAt(dir, volume{kind: "tmpfs", source: "test"}); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if got, err := inMemory(fd); !got || err != nil {
		t.Errorf("tmpfs: %v, %v", got, err)
	}
}
