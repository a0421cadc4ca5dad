package fsserver

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func (c *client) setxattr(node uint64, name, value string, flags uint32) syscall.Errno {
	c.Helper()
	return errnoOf(c.call(opSetxattr, node, xattrArgs{Size: uint32(len(value)), Flags: flags}, name, []byte(value)))
}

func (c *client) getxattr(node uint64, name string, size uint32) (string, syscall.Errno) {
	c.Helper()
	reply, errno := c.call(opGetxattr, node, xattrArgs{Size: size}, name)
	return string(reply), errno
}

func TestXattr(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", "")
	if err := unix.Setxattr(dir+"/file", "user.probe", []byte("x"), 0); err != nil {
		t.Skipf("file system of the temporary directory has no extended attributes: %v", err)
	}
	unix.Removexattr(dir+"/file", "user.probe")
	c := newClient(t, dir, Options{})
	node := c.lookup(rootNode, "file").NodeId
	if errno := c.setxattr(node, "user.a", "value", 0); errno != 0 {
		t.Fatal(errno)
	}
	for _, test := range []struct {
		name string
		got  syscall.Errno
		want syscall.Errno
	}{
		{"create existing", c.setxattr(node, "user.a", "v", unix.XATTR_CREATE), syscall.EEXIST},
		{"replace missing", c.setxattr(node, "user.b", "v", unix.XATTR_REPLACE), syscall.ENODATA},
		{"label of a security module", c.setxattr(node, "security.selinux", "v", 0), syscall.EOPNOTSUPP},
		{"integrity signature", c.setxattr(node, "security.ima", "v", 0), syscall.EOPNOTSUPP},
		{"remove a label", errnoOf(c.call(opRemovexattr, node, "security.selinux")), syscall.EOPNOTSUPP},
		{"name without class", c.setxattr(node, "a", "v", 0), syscall.EOPNOTSUPP},
		{"long name", c.setxattr(node, "user."+strings.Repeat("n", 300), "v", 0), syscall.ERANGE},
		{"remove missing", errnoOf(c.call(opRemovexattr, node, "user.b")), syscall.ENODATA},
	} {
		if test.got != test.want {
			t.Errorf("%s: %v, want %v", test.name, test.got, test.want)
		}
	}
	if got, errno := c.getxattr(node, "user.a", 100); got != "value" || errno != 0 {
		t.Errorf("get: %q, %v", got, errno)
	}
	if got, errno := c.getxattr(node, "user.a", 0); errno != 0 || binary.NativeEndian.Uint32([]byte(got)) != 5 {
		t.Errorf("size: %q, %v", got, errno)
	}
	if _, errno := c.getxattr(node, "user.a", 4); errno != syscall.ERANGE {
		t.Errorf("into 4 bytes: %v", errno)
	}
	if _, errno := c.getxattr(node, "security.selinux", 100); errno != syscall.ENODATA {
		t.Errorf("label: %v", errno)
	}
	list := strings.Split(strings.TrimRight(string(c.must(opListxattr, node, xattrArgs{Size: 1000})), "\x00"), "\x00")
	if !slices.Contains(list, "user.a") {
		t.Errorf("list: %q", list)
	}
	c.must(opRemovexattr, node, "user.a")
	if _, errno := c.getxattr(node, "user.a", 100); errno != syscall.ENODATA {
		t.Errorf("after removal: %v", errno)
	}
}

// TestXattrOfLink checks that attributes of a symbolic link are its own.
func TestXattrOfLink(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/target", "")
	if err := os.Symlink(dir+"/target", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, dir, Options{})
	link := c.lookup(rootNode, "link").NodeId
	if errno := c.setxattr(link, "user.a", "value", 0); errno != syscall.EPERM && errno != syscall.EOPNOTSUPP {
		t.Errorf("user attribute: %v", errno)
	}
	if os.Geteuid() == 0 {
		if errno := c.setxattr(link, "trusted.a", "value", 0); errno != 0 {
			t.Errorf("trusted attribute: %v", errno)
		}
		if got, errno := c.getxattr(link, "trusted.a", 100); got != "value" || errno != 0 {
			t.Errorf("read back: %q, %v", got, errno)
		}
	}
	if n, err := unix.Listxattr(dir+"/target", nil); n != 0 {
		t.Errorf("the link's target has attributes: %d bytes, %v", n, err)
	}
}

// TestDefaultACL checks that a directory's default ACL decides over the mode.
func TestDefaultACL(t *testing.T) {
	dir := t.TempDir()
	// Version 2; user::rwx group::r-x other::---, each tag, permissions and id.
	acl := []byte("\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x04\x00\x05\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff")
	if err := unix.Setxattr(dir, "system.posix_acl_default", acl, 0); err != nil {
		t.Skipf("file system of the temporary directory has no ACLs: %v", err)
	}
	c := newClient(t, dir, Options{})
	file := c.create(rootNode, "file", syscall.O_RDWR, 0o666)
	if got := file.Mode & 0o777; got != 0o640 {
		t.Errorf("mode %o, want 640", got)
	}
	if got, errno := c.getxattr(rootNode, "system.posix_acl_default", 1000); got != string(acl) || errno != 0 {
		t.Errorf("acl reads %q, %v", got, errno)
	}
}
