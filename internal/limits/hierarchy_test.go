package limits

import (
	"slices"
	"strings"
	"testing"
)

func TestFindHierarchy(t *testing.T) {
	const (
		unified = "25 30 0:22 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
		before  = "24 30 0:21 / /sys rw shared:2 - sysfs sysfs rw\n26 24 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
	)
	for _, c := range []struct {
		name, mounts, groups string
		top, own             string
		err                  string
	}{
		{"systemd", before + unified, "0::/user.slice/session-1.scope\n", "/sys/fs/cgroup", "/user.slice/session-1.scope", ""},
		{"top", unified, "0::/\n", "/sys/fs/cgroup", "/", ""},
		{"hybrid", before + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "9:cpu:/x\n0::/y\n", "/sys/fs/cgroup/unified", "/y", ""},
		{"part of the tree", "25 30 0:22 /a/b /mnt/with\\040space rw - cgroup2 none rw\n", "0::/a/b/c\n", "/mnt/with space", "/c", ""},
		{"part, own group", "25 30 0:22 /a/b /mnt rw - cgroup2 none rw\n", "0::/a/b\n", "/mnt", "/", ""},
		{"other part", "25 30 0:22 /a/b /mnt rw - cgroup2 none rw\n", "0::/a/bc\n", "", "", "not mounted"},
		{"second mount", "25 30 0:22 /z /mnt rw - cgroup2 none rw\n" + unified, "0::/a\n", "/sys/fs/cgroup", "/a", ""},
		{"version 1 only", before, "9:cpu:/x\n", "", "", "version 2"},
		{"not mounted", before, "0::/\n", "", "", "not mounted"},
		{"above a namespace", unified, "0::/../x\n", "", "", "cannot be seen"},
		{"odd", unified, "0::x/..\n", "", "", "cannot be seen"},
		{"no text", "", "", "", "", "version 2"},
		{"half lines", "25 30 - cgroup2\n25 30 0:22 / / rw -\n", "0::/\n", "", "", "not mounted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := findHierarchy(c.mounts, c.groups)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil || h.top != c.top || h.own != c.own {
				t.Errorf("found %+v, %v; want %s in %s", h, err, c.own, c.top)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		own  string
		root bool
		want []string
	}{
		{"/", true, []string{"/"}},
		{"/", false, []string{"/"}},
		{"/a", false, []string{"/"}},
		{"/a/b/c", false, []string{"/a/b", "/a", "/"}},
		{"/a/b/c", true, []string{"/", "/a/b", "/a"}},
	} {
		if got := (hierarchy{own: c.own}).places(c.root); !slices.Equal(got, c.want) {
			t.Errorf("places from %s (root: %v) are %q, want %q", c.own, c.root, got, c.want)
		}
	}
}
