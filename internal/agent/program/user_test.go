package program

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLookupUser(t *testing.T) {
	dir := t.TempDir()
	passwd, group := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	for file, content := range map[string]string{
		passwd: "root:x:0:0:root:/root:/bin/sh\n\n:::\nann:x:1000:1001::/home/ann:/bin/sh\nbad:x:99999999999:1::/:/\n",
		group:  "root:x:0:\nstaff:x:50:bob,ann\nann:x:1001:\nwheel:x:10:ann\nshort\n",
	} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		spec string
		want user
		ok   bool
	}{
		{"", user{home: "/root", name: "root", shell: "/bin/sh"}, true},
		{"root", user{set: true, home: "/root", name: "root", shell: "/bin/sh"}, true},
		{"ann", user{set: true, uid: 1000, gid: 1001, groups: []uint32{50, 10}, home: "/home/ann", name: "ann", shell: "/bin/sh"}, true},
		{"1000", user{set: true, uid: 1000, gid: 1001, groups: []uint32{50, 10}, home: "/home/ann", name: "ann", shell: "/bin/sh"}, true},
		{"ann:staff", user{set: true, uid: 1000, gid: 50, home: "/home/ann", name: "ann", shell: "/bin/sh"}, true},
		{"ann:7", user{set: true, uid: 1000, gid: 7, home: "/home/ann", name: "ann", shell: "/bin/sh"}, true},
		{"4242", user{set: true, uid: 4242, home: "/"}, true},
		{"4242:4343", user{set: true, uid: 4242, gid: 4343, home: "/"}, true},
		{spec: "bob"}, {spec: "bad"}, {spec: "ann:nogroup"}, {spec: ":staff"}, {spec: "ann:"}, {spec: "-1"}, {spec: "4294967295"},
	}
	for _, tt := range tests {
		got, err := lookupUserIn(tt.spec, passwd, group)
		if (err == nil) != tt.ok || tt.ok && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %+v, %v; want %+v", tt.spec, got, err, tt.want)
		}
	}
	if got, err := lookupUserIn("", "/no/such", "/no/such"); err != nil || got.home != "/root" {
		t.Errorf("without account files: %+v, %v", got, err)
	}
}

// A program of the guest can put anything in the place of its files.
func TestNoWaitingForFIFOs(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := lookupUserIn("", fifo, "/no/such"); err == nil {
		t.Error("accounts were read from a FIFO")
	}
	if got := interpreter(fifo); got != "" {
		t.Errorf("a FIFO names the interpreter %q", got)
	}
	fd, err := openNull(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the program's input has the flags %#x, %v", flags, err)
	}
}
