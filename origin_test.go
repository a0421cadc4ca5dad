package holt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/monitor"
)

// savedOrigin is an origin with a root, two shared directories, a root disk's twin and
// two disks, of which the second is read-only.
func savedOrigin(t *testing.T) *origin {
	t.Helper()
	dir := t.TempDir()
	disk := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cfg := DefaultConfig()
	cfg.RootPath, cfg.ExecPath = dir, "true"
	cfg.MappedDirs = []PathPair{{Host: dir, Guest: "/a"}, {Host: dir, Guest: "/b", ReadOnly: true}}
	cfg.Disks = []Disk{{Path: disk("one")}, {Path: disk("two"), ReadOnly: true}}
	cfg.PortMap = []PortPair{{Host: 8080, Guest: 80}}
	files := &monitor.OriginFiles{Disks: []*os.File{os.Stdin}}
	return &origin{spec: monitor.Origin{Layers: 1, Disks: []string{"disk0"}}, files: files, config: cfg, program: true, close: func() {}}
}

func TestReplaceWhatASavedVMHadOfTheHost(t *testing.T) {
	o := savedOrigin(t)
	other := t.TempDir()
	image := filepath.Join(other, "image")
	if err := os.WriteFile(image, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := collect([]Option{
		ReplaceDir(other, "/b"), ReplaceDir(other, "/"), ReplaceDisk("disk0", Disk{Path: image}), ReplacePorts(PortPair{Host: 9090, Guest: 80}),
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg, spec, files, err := o.replace(set)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.RootPath != other || cfg.MappedDirs[1].Host != other || cfg.MappedDirs[0].Host == other || !cfg.MappedDirs[1].ReadOnly {
		t.Errorf("directories: %s, %v", cfg.RootPath, cfg.MappedDirs)
	}
	if !slices.Equal(spec.Moved, []string{"/b", "/"}) || len(spec.Disks) != 0 || len(files.Disks) != 0 || cfg.Disks[0].Path != image {
		t.Errorf("moved %q, saved disks %q (%d files), disks %v", spec.Moved, spec.Disks, len(files.Disks), cfg.Disks)
	}
	if len(cfg.PortMap) != 1 || cfg.PortMap[0].Host != 9090 {
		t.Errorf("ports %v", cfg.PortMap)
	}
	// Others may be started from the same origin.
	if o.config.MappedDirs[1].Host == other || o.config.Disks[0].Path == image || len(o.spec.Disks) != 1 || len(o.files.Disks) != 1 || o.spec.Moved != nil {
		t.Error("the origin itself was changed")
	}
}

func TestReplaceRefuses(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, opt := range map[string]Option{
		`has none at "/c", but at ["/" "/a" "/b"]`:  ReplaceDir(t.TempDir(), "/c"),
		`replace disk disk2: the saved VM has 2`:    ReplaceDisk("disk2", Disk{Path: image}),
		`replace disk disk: the saved VM has 2`:     ReplaceDisk("disk", Disk{Path: image}),
		`replace disk disk-1: the saved VM has 2`:   ReplaceDisk("disk-1", Disk{Path: image}),
		`replace disk disk00: the saved VM has 2`:   ReplaceDisk("disk00", Disk{Path: image}),
		`replace disk disk0x: the saved VM has 2`:   ReplaceDisk("disk0x", Disk{Path: image}),
		`replace disk root: the saved VM's root is`: ReplaceDisk("root", Disk{Path: image}),
		`one of them is read-only`:                  ReplaceDisk("disk1", Disk{Path: image}),
		`must be an existing directory`:             ReplaceDir(image, "/a"),
		`VM name "no name"`:                         WithName("no name"),
	} {
		if _, err := savedOrigin(t).vm([]Option{opt, InProcess()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestNeedsAreChecked: a snapshot says what it needs of the host, and what is not there,
// or is another, is named.
func TestNeedsAreChecked(t *testing.T) {
	o := savedOrigin(t)
	n, err := o.config.needs(map[string]int64{"disk0": 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(n.Dirs) != 3 || len(n.Disks) != 2 || !n.Disks[0].Saved || n.Disks[1].Saved || !slices.Equal(n.Ports, []string{"8080:80"}) {
		t.Fatalf("it needs %+v", n)
	}
	if err := checkNeeds(n, options{}); err != nil {
		t.Errorf("nothing has changed: %v", err)
	}
	check := func(want string, opts ...Option) {
		t.Helper()
		set, err := collect(opts)
		if err != nil {
			t.Fatal(err)
		}
		err = checkNeeds(n, set)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if err := os.WriteFile(o.config.Disks[0].Path, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("") // its content was saved
	if err := os.WriteFile(o.config.Disks[1].Path, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("was changed since")
	check("", ReplaceDisk("disk1", Disk{Path: "/other", ReadOnly: true}))
	if err := os.Rename(o.config.RootPath, o.config.RootPath+".gone"); err != nil {
		t.Fatal(err)
	}
	check("find directory")
	if err := os.Mkdir(o.config.RootPath, 0o700); err != nil {
		t.Fatal(err)
	}
	check("is another one than that which the guest had")
}

// TestForgedSnapshots: an archive's maker does not choose what it gets of this host.
func TestForgedSnapshots(t *testing.T) {
	o := savedOrigin(t)
	n, err := o.config.needs(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.config.agrees(n); err != nil {
		t.Errorf("its own needs: %v", err)
	}
	renamed := n
	renamed.Disks = slices.Clone(n.Disks)
	renamed.Disks[0].Name = "disk7"
	if err := o.config.agrees(renamed); err == nil {
		t.Error("a disk that none of the guest's is would be used where it is")
	}
	for name, forge := range map[string]func(c *Config){
		"another root":         func(c *Config) { c.RootPath = "/" },
		"one more directory":   func(c *Config) { c.MappedDirs = append(c.MappedDirs, PathPair{Host: "/etc", Guest: "/c"}) },
		"another directory":    func(c *Config) { c.MappedDirs[0].Host = "/etc" },
		"one more disk":        func(c *Config) { c.Disks = append(c.Disks, Disk{Path: "/dev/sda"}) },
		"a disk to be written": func(c *Config) { c.Disks[1].ReadOnly = false },
		"a root disk":          func(c *Config) { c.RootDisk = Disk{Path: "/dev/sda"} },
	} {
		c := o.config.clone()
		forge(&c)
		if err := c.agrees(n); err == nil {
			t.Errorf("%s is not noticed", name)
		}
	}
	all := []Option{ReplaceDir("/x", "/"), ReplaceDir("/x", "/a"), ReplaceDir("/x", "/b"),
		ReplaceDisk("disk0", Disk{Path: "/x"}), ReplaceDisk("disk1", Disk{Path: "/x", ReadOnly: true})}
	for i := range all {
		set, err := collect(slices.Delete(slices.Clone(all), i, i+1))
		if err != nil {
			t.Fatal(err)
		}
		if err := checkNamed(n, set); err == nil || !strings.Contains(err.Error(), "it was imported") {
			t.Errorf("without the %dth: %v", i, err)
		}
	}
	set, err := collect(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkNamed(n, set); err != nil {
		t.Error(err)
	}
}
