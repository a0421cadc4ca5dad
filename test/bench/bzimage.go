package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holtvm/holt/internal/aptpkg"
)

// bzImage returns the kernel as the distribution ships it, which the store does
// not keep once it is unpacked: the running host's file, or the package's.
func (b *bench) bzImage(ctx context.Context) (string, error) {
	installed := "/boot/vmlinuz-" + b.kernel.Version
	if _, err := os.Stat(installed); !errors.Is(err, fs.ErrNotExist) {
		return installed, err
	}
	client, err := aptpkg.New(filepath.Join(b.dirs.Cache, "apt"), func(step string) { progress("%s", step) })
	if err != nil {
		return "", err
	}
	pkg, err := client.Download(ctx, "linux-image-"+b.kernel.Version)
	if err != nil {
		return "", err
	}
	const name = "bzImage"
	err = pkg.Unpack(ctx, b.temp, func(file string) (string, bool) { return name, "/"+file == installed })
	return filepath.Join(b.temp, name), err
}
