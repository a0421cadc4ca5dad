package limits

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tree makes directories that look like control groups: files by path. A file
// whose content is "refuse" is one that can be neither read nor written. Other than
// in real ones, files in new directories come to be when they are written.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	top := t.TempDir()
	for name, content := range files {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if content == "refuse" {
			err = os.Mkdir(path, 0o755)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return top
}

const (
	subtree     = "cgroup.subtree_control"
	controllers = "cgroup.controllers"
	all         = "cpuset cpu io memory pids\n"
)

func TestNewGroup(t *testing.T) {
	everything := Limits{CPUQuota: 20 * time.Millisecond, Memory: 1 << 30, Tasks: 100}
	for _, c := range []struct {
		name  string
		own   string
		root  bool
		files map[string]string
		limit Limits
		at    string            // the group's parent; "" for none
		want  map[string]string // files in the group
		err   string
	}{
		{
			name: "root, at the top", own: "/user.slice/s.scope", root: true,
			files: map[string]string{
				controllers: all, subtree: "cpu memory pids\n",
				"holt/" + controllers: all, "holt/" + subtree: all,
				"user.slice/s.scope/cpu.max": "max 100000\n", "user.slice/s.scope/memory.max": "max\n",
			},
			limit: everything, at: "holt",
			want: map[string]string{"cpu.max": "20000 100000", "memory.max": "1073741824", "pids.max": "100"},
		}, {
			name: "delegated to a user", own: "/u/service/app/x.scope",
			files: map[string]string{
				controllers: all, subtree: all, "holt": "not a directory",
				"u/" + controllers: all, "u/" + subtree: all, "u/holt": "not a directory",
				"u/service/" + controllers: all, "u/service/" + subtree: "cpu memory pids",
				"u/service/holt/" + controllers: all, "u/service/holt/" + subtree: all,
				"u/service/app/" + controllers: "memory pids", "u/service/app/" + subtree: "memory pids",
			},
			limit: everything, at: "u/service/holt",
			want: map[string]string{"cpu.max": "20000 100000"},
		}, {
			name: "controllers have to be enabled", own: "/", root: true,
			files: map[string]string{controllers: "cpu", subtree: "", "holt/" + controllers: "cpu", "holt/" + subtree: ""},
			limit: Limits{CPUQuota: time.Millisecond}, at: "holt",
			want: map[string]string{"cpu.max": "1000 100000", "../" + subtree: "+cpu", "../../" + subtree: "+cpu"},
		}, {
			name: "no controller", own: "/", root: true,
			files: map[string]string{controllers: "memory", subtree: "memory", "holt/" + controllers: "memory", "holt/" + subtree: "memory"},
			limit: everything, err: "no cpu controller",
		}, {
			name: "memory will do", own: "/", root: true,
			files: map[string]string{controllers: "memory", subtree: "memory", "holt/" + controllers: "memory", "holt/" + subtree: "memory"},
			limit: Limits{Memory: 1 << 20, Tasks: 9}, at: "holt",
			want: map[string]string{"memory.max": "1048576"},
		}, {
			name: "nothing to limit with", own: "/", root: true,
			files: map[string]string{controllers: "", subtree: ""},
			limit: Limits{Memory: 1 << 20},
			err:   "nothing to limit with",
		}, {
			name: "cannot be enabled", own: "/", root: true,
			files: map[string]string{controllers: all, subtree: "refuse"},
			limit: everything, err: subtree,
		}, {
			name: "leaving would be an escape", own: "/a/b/c", root: true,
			files: map[string]string{
				controllers: all, subtree: all, "holt/" + controllers: all, "holt/" + subtree: all,
				"a/memory.high":    "100000\n",
				"a/" + controllers: all, "a/" + subtree: all,
				"a/b/" + controllers: all, "a/b/" + subtree: all,
				"a/b/holt/" + controllers: all, "a/b/holt/" + subtree: all,
			},
			limit: everything, at: "a/b/holt", want: map[string]string{"cpu.max": "20000 100000"},
		}, {
			name: "any leaving would be an escape", own: "/a", root: true,
			files: map[string]string{
				controllers: all, subtree: all, "holt/" + controllers: all, "holt/" + subtree: all,
				"a/cpu.max": "5000 100000\n",
			},
			limit: everything, err: "cpu.max is 5000 100000",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := tree(t, c.files)
			g, err := hierarchy{top: top, own: c.own}.newGroup("vm", c.limit, c.root)
			if c.err != "" {
				if !errors.Is(err, ErrNoGroup) || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want ErrNoGroup with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(top, c.at, fmt.Sprintf("vm.%d", os.Getpid())); g.Path() != want {
				t.Fatalf("the group is %s, want %s", g.Path(), want)
			}
			for name, want := range c.want {
				if got, err := os.ReadFile(filepath.Join(g.Path(), name)); string(got) != want {
					t.Errorf("%s has %q, %v; want %q", name, got, err, want)
				}
			}
		})
	}
}

// TestSweep: only what a dead process left is removed.
func TestSweep(t *testing.T) {
	common := t.TempDir()
	gone := []string{"a.2147483000", "b.2147483001"} // above the kernel's PID_MAX_LIMIT
	stay := []string{fmt.Sprintf("c.%d", os.Getpid()), "d.1", "e", "f.x", "g.-1", "h.0", "i.2147483000/child"}
	for _, name := range append(stay, gone...) {
		if err := os.MkdirAll(filepath.Join(common, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sweep(common)
	for _, name := range stay {
		if _, err := os.Stat(filepath.Join(common, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range gone {
		if _, err := os.Stat(filepath.Join(common, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	sweep(filepath.Join(common, "nowhere"))
}

// TestAllow: what a group has in use is not in the way of what it is to have.
func TestAllow(t *testing.T) {
	dir := t.TempDir()
	if err := Allow(dir, 1); err != nil {
		t.Errorf("a group without the controller: %v", err)
	}
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ limit, used, want string }{
		{"max\n", "5\n", "max\n"},
		{"1000\n", "900\n", "1400"},
		{"5000\n", "100\n", "600"},
	} {
		put("memory.max", c.limit)
		put("memory.current", c.used)
		err := Allow(dir, 500)
		if got, _ := os.ReadFile(filepath.Join(dir, "memory.max")); err != nil || string(got) != c.want {
			t.Errorf("%q with %q in use: now %q, %v; want %q", c.limit, c.used, got, err, c.want)
		}
	}
	put("memory.current", "some\n")
	if err := Allow(dir, 500); err == nil {
		t.Error("anything passes for a number")
	}
}
