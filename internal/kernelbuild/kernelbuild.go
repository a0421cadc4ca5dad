// Package kernelbuild compiles Holt's own guest kernel: from the distribution's
// source package, with the configuration of the package kernel, into the kernel
// store. The same source, configuration and compiler give the same bytes, so a
// result is kept by the hash of those and never made twice.
package kernelbuild

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/cachedir"
	"github.com/holtvm/holt/internal/flock"
	"github.com/holtvm/holt/internal/kernel"
	fragments "github.com/holtvm/holt/kernel"
)

// recipe changes whenever the same inputs are built in another way.
const recipe = "holt kernel build 1\n"

// maxBuilds is how many built kernels the cache keeps.
const maxBuilds = 4

// Names in the directory of a finished build.
const (
	imageFile  = "vmlinux"
	configFile = "config"
)

// Options say what to build, and how. The zero value builds Holt's kernel from
// the distribution's source.
type Options struct {
	// Source is a kernel source directory or a tarball of one. "" means the
	// distribution's source package, installed or fetched.
	Source string
	// Config is a file with further configuration, which overrides Holt's own
	// line by line. "" means none.
	Config string
	// Name is the kernel's name in the store. "" means its release.
	Name string
	// Jobs is how many compilers run at a time. 0 means one for each processor.
	Jobs int
	// Keep leaves the source tree that was built, for a look at it; see
	// Builder.Tree. It makes the kernel even if the cache has it.
	Keep bool
}

// Builder builds kernels.
type Builder struct {
	store    *kernel.Store
	cache    string
	headers  string // where the compiler finds them
	progress func(string)
}

// New returns a builder that works in the directory cache, puts kernels into
// store, and tells progress (which may be nil) what it is doing.
func New(store *kernel.Store, cache string, progress func(string)) *Builder {
	if progress == nil {
		progress = func(string) {}
	}
	return &Builder{store, cache, "/usr/include", progress}
}

// Tree is where a source tree is left when Options.Keep asks for it.
func (b *Builder) Tree() string { return filepath.Join(b.cache, "kernel-tree") }

// Log is the file with what the compiler said in the latest build.
func (b *Builder) Log() string { return filepath.Join(b.cache, "kernel-build.log") }

// builds is the directory of finished builds, named by their keys.
func (b *Builder) builds() string { return filepath.Join(b.cache, "kernel-builds") }

// Build makes a kernel, stores it, and makes it the default. A kernel of the same
// name is replaced. It takes minutes, unless the cache has the result; when ctx is
// cancelled, all that it started is stopped.
func (b *Builder) Build(ctx context.Context, o Options) (kernel.Kernel, error) {
	k, err := b.build(ctx, o)
	if err != nil {
		return kernel.Kernel{}, fmt.Errorf("build kernel: %w", err)
	}
	return k, nil
}

func (b *Builder) build(ctx context.Context, o Options) (kernel.Kernel, error) {
	if o.Name != "" { // minutes before the store would say so
		if err := kernel.CheckName(o.Name); err != nil {
			return kernel.Kernel{}, err
		}
	}
	// Make cannot work below such a directory, and says so in a riddle.
	if strings.ContainsAny(b.builds(), " \t:") {
		return kernel.Kernel{}, fmt.Errorf("make cannot work in %q, which has a space or a colon in it: set HOLT_HOME or XDG_CACHE_HOME", b.builds())
	}
	text, err := configText(o.Config)
	if err != nil {
		return kernel.Kernel{}, err
	}
	tools, err := b.findTools(ctx)
	if err != nil {
		return kernel.Kernel{}, err
	}
	if err := os.MkdirAll(b.builds(), 0o755); err != nil {
		return kernel.Kernel{}, err
	}
	b.progress("waiting for another build to end")
	lock, err := flock.Acquire(ctx, filepath.Join(b.builds(), ".lock"))
	if err != nil {
		return kernel.Kernel{}, err
	}
	defer lock.Unlock()
	if err := atomicfile.RemoveStale(b.builds()); err != nil {
		return kernel.Kernel{}, err
	}
	work, err := atomicfile.MkdirTemp(b.builds())
	if err != nil {
		return kernel.Kernel{}, err
	}
	defer os.RemoveAll(work)
	src, err := b.findSource(ctx, o.Source, work)
	if err != nil {
		return kernel.Kernel{}, err
	}
	sum := sha256.Sum256([]byte(recipe + tools + src.sha256 + "\n" + text))
	dir := filepath.Join(b.builds(), hex.EncodeToString(sum[:]))
	err = cachedir.Touch(dir)
	if errors.Is(err, fs.ErrNotExist) || o.Keep {
		err = b.compile(ctx, src, text, work, dir, o)
	}
	if err != nil {
		return kernel.Kernel{}, err
	}
	return b.publish(ctx, src, dir, o.Name)
}

// configText is Holt's configuration with the user's after it.
func configText(extra string) (string, error) {
	text, err := fragments.Config(runtime.GOARCH)
	if err != nil || extra == "" {
		return text, err
	}
	more, err := os.ReadFile(extra)
	if err != nil {
		return "", fmt.Errorf("read further configuration: %w", err)
	}
	return text + "\n" + string(more), nil
}

// compile fills dir, which becomes visible when it is complete.
func (b *Builder) compile(ctx context.Context, src source, text, work, dir string, o Options) error {
	tree := filepath.Join(work, "linux")
	out := filepath.Join(work, "out")
	for _, d := range []string{tree, out} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	log, err := os.Create(b.Log())
	if err != nil {
		return err
	}
	defer log.Close()
	r := &runner{dir: tree, log: log, logPath: b.Log(), progress: b.progress}
	if err := r.compile(ctx, src, text, out, o.Jobs); err != nil {
		return err
	}
	if err := atomicfile.CommitDir(out, dir); err != nil {
		return err
	}
	if o.Keep {
		if err := os.RemoveAll(b.Tree()); err != nil {
			return err
		}
		if err := os.Rename(tree, b.Tree()); err != nil {
			return err
		}
	}
	return cachedir.Prune(b.builds(), maxBuilds)
}

func (b *Builder) publish(ctx context.Context, src source, dir, name string) (kernel.Kernel, error) {
	k, err := b.store.Import(ctx, kernel.ImportOptions{
		Image:   filepath.Join(dir, imageFile),
		Name:    name,
		Source:  "built from " + src.about,
		Replace: true,
	})
	if err != nil {
		return kernel.Kernel{}, err
	}
	return k, b.store.SetDefault(ctx, k.Name)
}
