package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/atomicfile"
)

// ImportOptions say what to import.
type ImportOptions struct {
	// Image is a bzImage or an ELF vmlinux.
	Image string
	// ModulesDir is a directory like /lib/modules/6.1.0-13-amd64. It needs no
	// depmod, and its modules may be compressed. "" means that everything is
	// built in.
	ModulesDir string
	// Name is the kernel's name in the store. "" means its release.
	Name string
	// Source says to people where the kernel is from. "" means the path.
	Source string
	// Replace allows a different kernel of that name to be replaced.
	Replace bool
}

// Import copies a kernel into the store. A kernel that is there already, the
// very same, is returned as it is; a different one of the same name is
// ErrExists unless o.Replace. A tree without the modules that every guest
// needs is refused.
func (s *Store) Import(ctx context.Context, o ImportOptions) (Kernel, error) {
	lock, err := s.lock(ctx)
	if err != nil {
		return Kernel{}, err
	}
	defer lock.Unlock()
	return s.importLocked(ctx, o)
}

func (s *Store) importLocked(ctx context.Context, o ImportOptions) (Kernel, error) {
	if o.Name != "" {
		if err := CheckName(o.Name); err != nil {
			return Kernel{}, fmt.Errorf("import kernel: %w", err)
		}
	}
	if o.Source == "" {
		abs, err := filepath.Abs(o.Image)
		if err != nil {
			return Kernel{}, fmt.Errorf("import kernel: %w", err)
		}
		o.Source = abs
	}
	img, err := openImage(o.Image)
	if err != nil {
		return Kernel{}, err
	}
	defer img.Close()
	temp, err := atomicfile.MkdirTemp(s.dir)
	if err != nil {
		return Kernel{}, fmt.Errorf("import kernel: %w", err)
	}
	defer os.RemoveAll(temp)
	m, err := build(ctx, temp, source{image: img, modules: o.ModulesDir, name: o.Name, about: o.Source})
	if err != nil {
		return Kernel{}, fmt.Errorf("import kernel: %w", err)
	}
	old, err := s.Get(m.Name)
	switch {
	case err == nil && sameContent(old.Manifest, m) && old.Source == m.Source:
		return old, nil
	case !errors.Is(err, ErrNotFound) && !o.Replace && !sameContent(old.Manifest, m):
		return Kernel{}, fmt.Errorf("import kernel %s: %w", m.Name, ErrExists)
	}
	dir := filepath.Join(s.dir, m.Name)
	if err := atomicfile.CommitDir(temp, dir); err != nil {
		return Kernel{}, fmt.Errorf("import kernel: %w", err)
	}
	return Kernel{m, dir}, nil
}

// sameContent says whether two manifests describe the same files.
func sameContent(a, b Manifest) bool {
	a.Source, a.Created = b.Source, b.Created
	return reflect.DeepEqual(a, b)
}

// ImportHost imports the kernel that the host itself runs.
func (s *Store) ImportHost(ctx context.Context) (Kernel, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return Kernel{}, fmt.Errorf("find the host's kernel: %w", err)
	}
	return s.importRelease(ctx, "/", unix.ByteSliceToString(uts.Release[:]))
}

// importRelease imports an installed kernel below root.
func (s *Store) importRelease(ctx context.Context, root, release string) (Kernel, error) {
	modules := filepath.Join(root, "lib/modules", release)
	candidates := []string{
		filepath.Join(root, "boot/vmlinuz-"+release), // Debian and most others
		filepath.Join(modules, "vmlinuz"),            // Fedora, Arch
	}
	for _, path := range candidates {
		if _, err := os.Stat(path); err == nil {
			return s.Import(ctx, ImportOptions{Image: path, ModulesDir: modules, Source: "this host's kernel, " + path})
		}
	}
	return Kernel{}, fmt.Errorf("import the host's kernel %s: there is no %s (in a container there never is): use `holt kernel fetch`", release, candidates[0])
}
