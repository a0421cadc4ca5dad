package limits

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// hierarchy is the host's tree of control groups, version 2 (the kernel's
// documentation, admin-guide/cgroup-v2), as far as this process sees it.
type hierarchy struct {
	top string // the directory of its topmost group
	own string // the group of this process, below top: "/", or "/" and a clean path
}

// findHierarchy finds it in what /proc/self/mountinfo and /proc/self/cgroup say.
func findHierarchy(mountinfo, cgroup string) (hierarchy, error) {
	own := ""
	for line := range strings.Lines(cgroup) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			own = p
		}
	}
	switch {
	case own == "":
		return hierarchy{}, errors.New("this kernel has no control groups of version 2")
	case path.Clean(own) != own || strings.HasPrefix(own, "/..") || own[0] != '/':
		return hierarchy{}, fmt.Errorf("this process's group %q cannot be seen from here", own)
	}
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		mount, kind := strings.Fields(before), strings.Fields(after) // proc_pid_mountinfo(5)
		if len(mount) < 6 || len(kind) < 1 || kind[0] != "cgroup2" {
			continue
		}
		// A mount may show a part of the tree only.
		root, dir := strings.TrimSuffix(unescape(mount[3]), "/"), unescape(mount[4])
		if below, ok := strings.CutPrefix(own, root); ok && (below == "" || below[0] == '/') {
			return hierarchy{top: dir, own: path.Clean("/" + below)}, nil
		}
	}
	return hierarchy{}, errors.New("control groups of version 2 are not mounted")
}

// unescape undoes what the kernel does to spaces in mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

func thisHierarchy() (hierarchy, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return hierarchy{}, err
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return hierarchy{}, err
	}
	return findHierarchy(string(mounts), string(groups))
}

// places are the groups below which to try and make a new one, the best first. The
// group of this process is none, unless it is the topmost one: only that may have
// processes beside limited groups. Root makes its groups at the top, where nobody
// else changes what is enabled; others where something was delegated to them.
func (h hierarchy) places(root bool) []string {
	if h.own == "/" {
		return []string{"/"}
	}
	var places []string
	if root {
		places = append(places, "/")
	}
	for p := path.Dir(h.own); p != "/"; p = path.Dir(p) {
		places = append(places, p)
	}
	if !root {
		places = append(places, "/")
	}
	return places
}

// limiting are the files of a group that limit what its processes use, as opposed
// to how many there are.
var limiting = []string{"cpu.max", "memory.max", "memory.high"}

// keepsLimits returns an error if a process that goes from this process's group to
// one below place would rid itself of a limit: somebody meant it for what we start.
func (h hierarchy) keepsLimits(place string) error {
	for p := h.own; p != place; p = path.Dir(p) {
		for _, name := range limiting {
			b, err := os.ReadFile(filepath.Join(h.top, p, name))
			if err == nil && !strings.HasPrefix(string(b), "max") {
				return fmt.Errorf("group %s, which would be left, has a limit of its own: %s is %s", p, name, strings.TrimSpace(string(b)))
			}
		}
	}
	return nil
}
