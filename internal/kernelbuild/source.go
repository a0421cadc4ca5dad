package kernelbuild

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/holtvm/holt/internal/aptpkg"
)

// sourcePackage is the distribution's source that the configuration is for. It
// installs a tarball in installedDir.
const (
	sourcePackage = "linux-source-6.12"
	installedDir  = "/usr/src"
)

// source is a kernel's source.
type source struct {
	tarball string
	// sha256 is the tarball's hash in hexadecimal.
	sha256 string
	// about says to people what it is.
	about string
	// used says that it may have files of an earlier build in it.
	used bool
}

// findSource returns the source at path, or the distribution's when path is "".
// It may put a tarball into work.
func (b *Builder) findSource(ctx context.Context, path, work string) (source, error) {
	var src source
	var err error
	if path == "" {
		src, err = b.distribution(ctx, filepath.Join(installedDir, sourcePackage+".tar.xz"), work)
	} else {
		src, err = b.named(ctx, path, work)
	}
	if err != nil {
		return source{}, fmt.Errorf("find kernel source: %w", err)
	}
	src.sha256, err = hashFile(src.tarball)
	return src, err
}

// named is the source at path, which is a tarball or a directory.
func (b *Builder) named(ctx context.Context, path, work string) (source, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return source{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return source{}, err
	}
	if !info.IsDir() {
		return source{tarball: path, about: path}, nil
	}
	if _, err := os.Stat(filepath.Join(path, "Kbuild")); err != nil {
		return source{}, fmt.Errorf("%s has no kernel source in it", path)
	}
	tarball, err := b.pack(ctx, path, work)
	return source{tarball: tarball, about: path, used: true}, err
}

// distribution is the distribution's source package: the tarball that it has
// installed, or else the one in a package that is fetched.
func (b *Builder) distribution(ctx context.Context, installed, work string) (source, error) {
	if _, err := os.Stat(installed); err == nil {
		return source{tarball: installed, about: installed}, nil
	}
	client, err := aptpkg.New(filepath.Join(b.cache, "apt"), b.progress)
	if err != nil {
		return source{}, fmt.Errorf("%w; elsewhere, name the source of Linux 6.12 with --source", err)
	}
	pkg, err := client.Download(ctx, sourcePackage)
	if errors.Is(err, aptpkg.ErrNotFound) {
		return source{}, fmt.Errorf("%w: name the source of Linux 6.12 with --source", err)
	}
	if err != nil {
		return source{}, err
	}
	b.progress("unpacking " + pkg.String())
	name := path.Base(installed)
	err = pkg.Unpack(ctx, work, func(file string) (string, bool) { return name, path.Base(file) == name })
	return source{tarball: filepath.Join(work, name), about: "Debian package " + pkg.String()}, err
}

// pack makes a tarball of a source directory. The order and the times in it are
// fixed, so that its hash tells whether the content is the same.
func (b *Builder) pack(ctx context.Context, dir, work string) (string, error) {
	b.progress("copying " + dir)
	tarball := filepath.Join(work, "source.tar")
	r := &runner{dir: dir, log: io.Discard, progress: b.progress}
	args := []string{"--create", "--file", tarball, "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--exclude-vcs"}
	return tarball, r.run(ctx, "tar", append(append(args, unneeded()...), ".")...)
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// unneeded are arguments of tar that leave out most of a source tree: what no
// configuration for a virtual machine of this architecture can come to need.
// Files named Kconfig stay, because each names others.
func unneeded() []string {
	patterns := []string{
		"*/Documentation/[a-z]*",
		"*/arch/*/boot/dts",
		"*/drivers/gpu/drm/*/*.[ch]",
		"*/tools/perf",
		"*/tools/testing",
	}
	for _, arch := range []string{
		"alpha", "arc", "arm", "arm64", "csky", "hexagon", "loongarch", "m68k", "microblaze", "mips", "nios2",
		"openrisc", "parisc", "powerpc", "riscv", "s390", "sh", "sparc", "um", "xtensa",
	} {
		patterns = append(patterns, "*/arch/"+arch+"/*.[chS]")
	}
	args := make([]string, len(patterns))
	for i, p := range patterns {
		args[i] = "--exclude=" + p
	}
	return args
}
