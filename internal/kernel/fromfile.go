package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/cachedir"
)

// maxCachedKernels is how many kernels from files the cache keeps.
const maxCachedKernels = 4

// FromFile returns the kernel in an image file. If the file is in the store,
// it is that kernel. Otherwise it is unpacked to the cache; its modules are
// taken from an installed tree around it or from the host, and if neither has
// any for its release, everything is taken to be built in.
func (s *Store) FromFile(ctx context.Context, path string) (Kernel, error) {
	return s.fromFile(ctx, path, "/")
}

func (s *Store) fromFile(ctx context.Context, path, hostRoot string) (Kernel, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return Kernel{}, fmt.Errorf("find kernel: %w", err)
	}
	if store, err := filepath.EvalSymlinks(s.dir); err == nil && filepath.Dir(filepath.Dir(path)) == store {
		return s.Get(filepath.Base(filepath.Dir(path)))
	}
	img, err := openImage(path)
	if err != nil {
		return Kernel{}, err
	}
	defer img.Close()
	modules := findModules(path, img.release, hostRoot)
	key, err := fileKey(img.File, path, modules)
	if err != nil {
		return Kernel{}, fmt.Errorf("find kernel: %w", err)
	}
	cache := filepath.Join(s.cache, "kernels")
	dir := filepath.Join(cache, key)
	if k, err := load(dir); err == nil {
		return k, cachedir.Touch(dir)
	}
	lock, err := lockDir(ctx, cache)
	if err != nil {
		return Kernel{}, err
	}
	defer lock.Unlock()
	if k, err := load(dir); err == nil { // made while we waited
		return k, cachedir.Touch(dir)
	}
	return unpackToCache(ctx, dir, source{image: img, modules: modules, name: img.release, about: path})
}

func unpackToCache(ctx context.Context, dir string, src source) (Kernel, error) {
	if src.name == "" {
		src.name = "unnamed"
	}
	cache := filepath.Dir(dir)
	temp, err := atomicfile.MkdirTemp(cache)
	if err != nil {
		return Kernel{}, fmt.Errorf("unpack kernel: %w", err)
	}
	defer os.RemoveAll(temp)
	m, err := build(ctx, temp, src)
	if err != nil {
		return Kernel{}, fmt.Errorf("unpack kernel: %w", err)
	}
	if err := atomicfile.CommitDir(temp, dir); err != nil {
		return Kernel{}, fmt.Errorf("unpack kernel: %w", err)
	}
	if err := cachedir.Touch(dir); err != nil {
		return Kernel{}, err
	}
	if err := cachedir.Prune(cache, maxCachedKernels); err != nil {
		return Kernel{}, fmt.Errorf("bound kernel cache: %w", err)
	}
	return Kernel{m, dir}, nil
}

// findModules returns the directory of the modules for the image at path, or
// "" if there is none.
func findModules(path, release, hostRoot string) string {
	if release == "" {
		return ""
	}
	dir := filepath.Dir(path)
	var candidates []string
	switch filepath.Base(dir) {
	case release: // the image is among its modules
		candidates = append(candidates, dir)
	case "boot":
		root := filepath.Dir(dir)
		candidates = append(candidates, filepath.Join(root, "lib/modules", release), filepath.Join(root, "usr/lib/modules", release))
	}
	candidates = append(candidates, filepath.Join(hostRoot, "lib/modules", release))
	for _, c := range candidates {
		// Hosts keep near-empty directories of removed kernels.
		if info, err := os.Stat(filepath.Join(c, "kernel")); err == nil && info.IsDir() {
			return c
		}
	}
	return ""
}

// fileKey names the state of an image and of its modules: another file, or a
// change to either, gives another key.
func fileKey(image fs.File, path, modules string) (string, error) {
	info, err := image.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "schema %d\n", manifestSchema)
	if err := hashState(h, path, info); err != nil {
		return "", err
	}
	if modules != "" {
		if info, err = os.Stat(modules); err != nil {
			return "", err
		}
		if err := hashState(h, modules, info); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashState(h interface{ Write([]byte) (int, error) }, path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("this system does not identify files")
	}
	_, err := fmt.Fprintf(h, "%q %d %d %d %v %v\n", path, st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim)
	return err
}
