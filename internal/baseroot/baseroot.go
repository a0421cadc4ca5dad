// Package baseroot makes a small root directory for guests out of one static
// busybox: enough to try Holt without having an image.
package baseroot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holtvm/holt/internal/aptpkg"
	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/flock"
)

// busyboxPackage is the Debian package with a static busybox.
const busyboxPackage = "busybox-static"

// ErrNotBaseRoot says that something else is where a base root should go.
var ErrNotBaseRoot = errors.New("the directory is not empty and is not a base root")

// Make creates a base root at dir, whole or not at all. One that is there
// already is left as it is, with the user's changes. The busybox comes from the
// distribution's package, kept in cacheDir. Before each slow step, progress
// (which may be nil) is told.
func Make(ctx context.Context, dir, cacheDir string, progress func(step string)) error {
	if done, err := made(dir); done || err != nil {
		return err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("make base root: %w", err)
	}
	lock, err := flock.Acquire(ctx, filepath.Join(parent, "."+filepath.Base(dir)+".lock"))
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if done, err := made(dir); done || err != nil { // while we waited
		return err
	}
	temp, err := atomicfile.MkdirTemp(parent)
	if err != nil {
		return fmt.Errorf("make base root: %w", err)
	}
	defer os.RemoveAll(temp)
	if err := fill(ctx, temp, cacheDir, progress); err != nil {
		return fmt.Errorf("make base root: %w", err)
	}
	if err := atomicfile.CommitDir(temp, dir); err != nil {
		return fmt.Errorf("make base root: %w", err)
	}
	return nil
}

// made says whether dir is a base root. It returns ErrNotBaseRoot if it is
// anything but that, missing or empty.
func made(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at base root: %w", err)
	}
	if len(entries) == 0 {
		return false, nil
	}
	if _, err := os.Lstat(filepath.Join(dir, busyboxPath)); err != nil {
		return false, fmt.Errorf("%s: %w", dir, ErrNotBaseRoot)
	}
	return true, nil
}

func fill(ctx context.Context, dir, cacheDir string, progress func(string)) error {
	if err := makeSkeleton(dir); err != nil {
		return err
	}
	client, err := aptpkg.New(filepath.Join(cacheDir, "apt"), progress)
	if err != nil {
		return err
	}
	pkg, err := client.Download(ctx, busyboxPackage)
	if err != nil {
		return err
	}
	found := false
	err = pkg.Unpack(ctx, dir, func(name string) (string, bool) {
		is := name == "bin/busybox" || name == "usr/bin/busybox"
		found = found || is
		return busyboxPath, is
	})
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("package %s has no busybox in it", pkg)
	}
	return linkApplets(ctx, dir)
}
