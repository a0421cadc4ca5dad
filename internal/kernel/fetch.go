package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/holtvm/holt/internal/aptpkg"
	"github.com/holtvm/holt/internal/atomicfile"
)

// metaPackages depend on the newest kernel for virtual machines: Debian's,
// Ubuntu's.
var metaPackages = []string{"linux-image-cloud-" + arch, "linux-image-virtual"}

// Fetch gets the distribution's newest kernel for virtual machines and puts
// it into the store. It needs no root. A kernel that is there already is
// returned without unpacking it again. Before each slow step, progress (which
// may be nil) is told.
func (s *Store) Fetch(ctx context.Context, progress func(step string)) (Kernel, error) {
	if progress == nil {
		progress = func(string) {}
	}
	if runtime.GOARCH != arch {
		return Kernel{}, fmt.Errorf("fetch kernel: there are no guest kernels for %s yet, only for %s", runtime.GOARCH, arch)
	}
	client, err := aptpkg.New(filepath.Join(s.cache, "apt"), progress)
	if errors.Is(err, aptpkg.ErrNoApt) {
		return Kernel{}, fmt.Errorf("fetch kernel: %w; elsewhere use `holt kernel import`", err)
	}
	if err != nil {
		return Kernel{}, fmt.Errorf("fetch kernel: %w", err)
	}
	lock, err := s.lock(ctx) // whoever comes second finds all done
	if err != nil {
		return Kernel{}, err
	}
	defer lock.Unlock()
	for tries := 1; ; tries++ {
		k, err := s.fetch(ctx, client, progress)
		if err == nil {
			return k, nil
		}
		// The package that old lists named is gone. The client has fresh
		// lists now, which may name its successor.
		if tries > 1 || !errors.Is(err, aptpkg.ErrNotFound) {
			return Kernel{}, fmt.Errorf("fetch kernel: %w", err)
		}
	}
}

func (s *Store) fetch(ctx context.Context, client *aptpkg.Client, progress func(string)) (Kernel, error) {
	meta, err := client.Find(ctx, metaPackages...)
	if err != nil {
		return Kernel{}, err
	}
	image, release, err := imagePackage(meta)
	if err != nil {
		return Kernel{}, err
	}
	rec, err := client.Find(ctx, image)
	if err != nil {
		return Kernel{}, err
	}
	about := "Debian package " + rec.String()
	if k, err := s.Get(release); err == nil && k.Source == about && slices.Equal(k.Groups, groupNames()) {
		return k, nil
	}
	temp, err := atomicfile.MkdirTemp(s.dir)
	if err != nil {
		return Kernel{}, err
	}
	defer os.RemoveAll(temp)
	pick := kernelFiles(release)
	for _, name := range append([]string{image}, modulePackages(rec, release)...) {
		pkg, err := client.Download(ctx, name)
		if err != nil {
			return Kernel{}, err
		}
		if name == image {
			about = "Debian package " + pkg.String() // Download may know a newer one
		}
		progress("unpacking " + pkg.String())
		if err := pkg.Unpack(ctx, temp, pick); err != nil {
			return Kernel{}, err
		}
	}
	return s.importLocked(ctx, ImportOptions{
		Image:      filepath.Join(temp, "boot/vmlinuz-"+release),
		ModulesDir: filepath.Join(temp, "lib/modules", release),
		Name:       release,
		Source:     about,
		Replace:    true,
	})
}

// imagePackage is the package that a meta package depends on, and the release
// of the kernel in it.
func imagePackage(meta aptpkg.Record) (name, release string, err error) {
	for _, dep := range meta.Depends {
		if release, ok := strings.CutPrefix(dep, "linux-image-"); ok && validName(release) {
			return dep, release, nil
		}
	}
	return "", "", fmt.Errorf("package %s depends on no kernel", meta)
}

// modulePackages are the packages of a kernel's modules, where they are not
// with the image.
func modulePackages(image aptpkg.Record, release string) []string {
	for _, dep := range image.Depends {
		if dep == "linux-modules-"+release {
			return []string{dep}
		}
	}
	return nil
}

// kernelFiles picks the image and the modules out of packages. Newer ones
// have /lib in /usr.
func kernelFiles(release string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		name = strings.TrimPrefix(name, "usr/")
		if name == "boot/vmlinuz-"+release {
			return name, true
		}
		if !strings.HasPrefix(name, "lib/modules/"+release+"/") {
			return "", false
		}
		_, module := moduleName(name)
		return name, module || filepath.Base(name) == "modules.builtin"
	}
}
