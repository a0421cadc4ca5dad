package kernelbuild

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/boot/boottest"
	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/paths"
)

const release = "6.12.1-holt"

// makefile stands in for the kernel's: its image is there already, and it writes
// down what it was asked to do.
const makefile = `
mrproper:
	rm -f .config leftover
allnoconfig:
	test ! -e leftover
	grep -v CONFIG_EXPERT $(KCONFIG_ALLCONFIG) >.config
	echo CONFIG_EXPERT=$(EXPERT) >>.config
	env >environment
vmlinux:
	@echo '  CC      kernel/fork.o'
	@echo $(SAY)
	$(BUILD)
	cp image vmlinux
EXPERT := y
SAY := fine
BUILD := true
`

// world is a host with all tools, a store, and a kernel source.
type world struct {
	*Builder
	store    *kernel.Store
	source   string
	progress []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	bin := t.TempDir()
	for _, n := range needed {
		switch n.file {
		case "make", "tar", "xz":
			if _, err := exec.LookPath(n.file); err != nil {
				t.Fatal(err)
			}
		case "strip":
			write(t, filepath.Join(bin, n.file), "#!/bin/sh\nexec cp \"$4\" \"$3\"\n")
		default:
			write(t, filepath.Join(bin, n.file), "#!/bin/sh\necho "+n.file+" 1.0\n")
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	w := &world{source: t.TempDir()}
	dirs := paths.Dirs{Data: t.TempDir(), Cache: t.TempDir()}
	w.store = kernel.Open(dirs)
	w.Builder = New(w.store, dirs.Cache, func(s string) { w.progress = append(w.progress, s) })
	w.headers = bin
	write(t, filepath.Join(w.source, "Kbuild"), "")
	write(t, filepath.Join(w.source, "image"), string(boottest.Vmlinux(release, 0x1000)))
	w.makefile(t, "")
	return w
}

func (w *world) makefile(t *testing.T, more string) {
	t.Helper()
	write(t, filepath.Join(w.source, "Makefile"), makefile+more)
}

// tarball packs the source as a distribution does.
func (w *world) tarball(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "linux.tar.xz")
	if out, err := exec.Command("tar", "-C", filepath.Dir(w.source), "-cJf", path, filepath.Base(w.source)).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return path
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// compiled says whether anything was compiled since it was last asked.
func (w *world) compiled() bool {
	all := strings.Join(w.progress, "\n")
	w.progress = nil
	return strings.Contains(all, "compiling: 1 files, kernel/fork.o")
}

func TestBuild(t *testing.T) {
	for name, source := range map[string]func(*world) string{
		"directory": func(w *world) string { return w.source },
		"tarball":   func(w *world) string { return w.tarball(t) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := Options{Source: source(w)}
			k, err := w.Build(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if k.Version != release || k.Name != release || !k.PVH || !strings.Contains(k.Source, o.Source) {
				t.Errorf("got %+v", k)
			}
			if def, err := w.store.Default(); err != nil || def.Name != k.Name {
				t.Errorf("the default is %q, %v", def.Name, err)
			}
			if !w.compiled() {
				t.Errorf("compiled nothing: %q", w.progress)
			}
			if log, err := os.ReadFile(w.Log()); err != nil || !strings.Contains(string(log), "fine") {
				t.Errorf("log: %q, %v", log, err)
			}
			again, err := w.Build(t.Context(), o)
			if err != nil || again.SHA256 != k.SHA256 || w.compiled() {
				t.Errorf("the second time: %v, %v", again, err)
			}
			leftovers(t, w)
		})
	}
}

// leftovers checks that no unfinished work is lying about.
func leftovers(t *testing.T, w *world) {
	t.Helper()
	if found, _ := filepath.Glob(filepath.Join(w.builds(), atomicfile.TempPrefix+"*")); len(found) > 0 {
		t.Errorf("left behind: %q", found)
	}
}

func TestBuildIsMadeAgainForOtherInputs(t *testing.T) {
	w := newWorld(t)
	extra := filepath.Join(t.TempDir(), "extra.config")
	write(t, extra, "CONFIG_MORE=y\n")
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   bool
	}{
		{"first", func(*Options) {}, true},
		{"nothing", func(*Options) {}, false},
		{"jobs", func(o *Options) { o.Jobs = 7 }, false},
		{"name", func(o *Options) { o.Name = "other" }, false},
		{"configuration", func(o *Options) { o.Config = extra }, true},
		{"source", func(*Options) { w.makefile(t, "# more\n") }, true},
		{"keep", func(o *Options) { o.Keep = true }, true},
		{"compiler", func(*Options) {
			write(t, filepath.Join(strings.Split(os.Getenv("PATH"), ":")[0], "gcc"), "#!/bin/sh\necho gcc 2.0\n")
		}, true},
	} {
		o := Options{Source: w.source}
		c.change(&o)
		if _, err := w.Build(t.Context(), o); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := w.compiled(); got != c.want {
			t.Errorf("%s: compiled: %v, want %v", c.name, got, c.want)
		}
	}
	if final, err := os.ReadFile(filepath.Join(w.Tree(), ".config")); err != nil || !strings.Contains(string(final), "CONFIG_ACPI=y") {
		t.Errorf("the tree that was kept: %v", err)
	}
}

// Nothing of the caller's environment and of an earlier build gets into the
// kernel.
func TestBuildIsClean(t *testing.T) {
	w := newWorld(t)
	t.Setenv("KCFLAGS", "-O0")
	t.Setenv("MAKEFLAGS", "--dry-run")
	t.Setenv("LOCALVERSION", "-mine")
	write(t, filepath.Join(w.source, "leftover"), "")
	if _, err := w.Build(t.Context(), Options{Source: w.source, Keep: true}); err != nil {
		t.Fatal(err)
	}
	env, err := os.ReadFile(filepath.Join(w.Tree(), "environment"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"KCFLAGS", "-mine", "dry-run"} {
		if strings.Contains(string(env), bad) {
			t.Errorf("%q is in the environment:\n%s", bad, env)
		}
	}
	if !strings.Contains(string(env), "KBUILD_BUILD_TIMESTAMP=1970") {
		t.Errorf("no time stamp in the environment:\n%s", env)
	}
	if _, err := os.Stat(filepath.Join(w.source, "leftover")); err != nil {
		t.Errorf("the source was changed: %v", err)
	}
}

func TestBuildRefuses(t *testing.T) {
	w := newWorld(t)
	empty := t.TempDir()
	for _, c := range []struct {
		name, makefile string
		o              Options
		want           []string
	}{
		{"no such source", "", Options{Source: "/nonexistent"}, []string{"find kernel source", "/nonexistent"}},
		{"not a source", "", Options{Source: empty}, []string{empty, "no kernel source"}},
		{"no such configuration", "", Options{Source: w.source, Config: "/nonexistent"}, []string{"further configuration", "/nonexistent"}},
		{"option lost", "EXPERT := n\n", Options{Source: w.source}, []string{"CONFIG_EXPERT=y came out as n"}},
		{"compiler error", "SAY := no room\nBUILD := false\n", Options{Source: w.source}, []string{"make", "no room", w.Log()}},
		{"bad name", "SAY := compiled\nBUILD := false\n", Options{Source: w.source, Name: "a/b"}, []string{"a/b", "cannot be a name"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.makefile(t, c.makefile)
			_, err := w.Build(t.Context(), c.o)
			if err == nil {
				t.Fatal("it built")
			}
			for _, want := range append(c.want, "build kernel") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
			leftovers(t, w)
		})
	}
}

func TestBuildSaysWhatIsMissing(t *testing.T) {
	w := newWorld(t)
	t.Setenv("PATH", t.TempDir())
	_, err := w.Build(t.Context(), Options{Source: w.source})
	if err == nil || !strings.Contains(err.Error(), "apt-get install bc binutils bison flex gcc make tar xz-utils`") {
		t.Errorf("got %v", err)
	}
}

func TestBuildRefusesDirectoriesThatMakeCannotUse(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"with space", "with:colon"} {
		w.cache = filepath.Join(t.TempDir(), name)
		if _, err := w.Build(t.Context(), Options{Source: w.source}); err == nil || !strings.Contains(err.Error(), w.cache) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A cancelled build ends with everything that it started.
func TestBuildIsCancelled(t *testing.T) {
	w := newWorld(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	w.makefile(t, "BUILD := sh -c 'trap \"\" TERM; echo $$$$ >"+pidFile+"; while :; do sleep 0.1; done'\n")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for range 200 {
			if pid, err := os.ReadFile(pidFile); err == nil && len(pid) > 1 {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	_, err := w.Build(ctx, Options{Source: w.source})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Since(start) > 5*time.Second {
			t.Fatalf("process %s is still there", pid)
		}
	}
	leftovers(t, w)
}
