package agentproto

import (
	"strings"
	"syscall"
	"testing"
)

func TestEntryValidate(t *testing.T) {
	const file, dir, link = syscall.S_IFREG, syscall.S_IFDIR, syscall.S_IFLNK
	long := Name(strings.Repeat("n", 255))
	for _, e := range []Entry{
		{Path: ".", Mode: dir | 0o755},
		{Path: ".", Mode: link, Target: "/etc"},
		{Path: "a/b", Mode: file | 0o7777, Size: 1 << 62, MTimeNS: -1},
		{Path: "-rf/..x/ \n\xff", Mode: syscall.S_IFIFO},
		{Path: long + "/" + long, Mode: syscall.S_IFBLK, Rdev: 1 << 40},
		{Path: Name(strings.Repeat("a/", 2047) + "a"), Mode: dir},
		{Path: "a", Mode: link, Target: "../../../x"},
		{Path: "a", Mode: link, HardLink: true, Target: "b/c"},
	} {
		if err := e.Validate(); err != nil {
			t.Errorf("%+v: %v", e, err)
		}
	}
	for _, e := range []Entry{
		{},
		{Path: "", Mode: dir}, {Path: "/", Mode: dir}, {Path: "/a", Mode: dir}, {Path: "..", Mode: dir},
		{Path: "../a", Mode: file}, {Path: "a/..", Mode: dir}, {Path: "a/../b", Mode: file}, {Path: "./a", Mode: file},
		{Path: "a/", Mode: dir}, {Path: "a//b", Mode: file}, {Path: "a\x00", Mode: file}, {Path: long + "n", Mode: file},
		{Path: Name(strings.Repeat("a/", 2047) + "ab"), Mode: dir},
		{Path: "a"}, {Path: "a", Mode: 0o644}, {Path: "a", Mode: syscall.S_IFSOCK}, {Path: "a", Mode: 1<<16 | file},
		{Path: "a", Mode: file, Size: -1},
		{Path: "a", Mode: file, Target: "b"},
		{Path: "a", Mode: link}, {Path: "a", Mode: link, Target: "b\x00"}, {Path: "a", Mode: link, Target: Name(strings.Repeat("b", 4096))},
		{Path: "a", Mode: file, HardLink: true}, {Path: "a", Mode: file, HardLink: true, Target: "a"},
		{Path: "a", Mode: file, HardLink: true, Target: "."}, {Path: "a", Mode: file, HardLink: true, Target: "../b"},
		{Path: "a", Mode: file, HardLink: true, Target: "/b"}, {Path: "a", Mode: dir, HardLink: true, Target: "b"},
		{Path: ".", Mode: file, HardLink: true, Target: "b"},
	} {
		if err := e.Validate(); err == nil {
			t.Errorf("%.200q and mode %#o: no error", e.Path, e.Mode)
		}
	}
}
