package aptpkg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/cachedir"
)

// maxDebs is how many package files the cache keeps.
const maxDebs = 8

// Package is a downloaded package file.
type Package struct {
	Record
	// Path is the file, in the client's cache.
	Path string
}

func (c *Client) download(ctx context.Context, rec Record) (Package, error) {
	lock, err := c.lock(ctx)
	if err != nil {
		return Package{}, err
	}
	defer lock.Unlock()
	pkg := Package{rec, filepath.Join(c.debDir(), rec.fileName())}
	if checkHash(pkg.Path, rec.SHA256) == nil {
		return pkg, cachedir.Touch(pkg.Path)
	}
	temp, err := atomicfile.MkdirTemp(c.debDir())
	if err != nil {
		return Package{}, fmt.Errorf("download package: %w", err)
	}
	defer os.RemoveAll(temp)
	c.progress("downloading " + rec.String())
	if _, err := c.run(ctx, temp, "apt-get", "download", "-q", rec.Name+"="+rec.Version); err != nil {
		return Package{}, fmt.Errorf("download package %s: %w", rec, err)
	}
	// The directory was empty, so whatever apt calls the file, it is the one.
	files, err := filepath.Glob(filepath.Join(temp, "*.deb"))
	if err != nil || len(files) != 1 {
		return Package{}, fmt.Errorf("download package %s: apt-get made %d files, want one", rec, len(files))
	}
	if err := checkHash(files[0], rec.SHA256); err != nil {
		return Package{}, fmt.Errorf("download package %s: %w", rec, err)
	}
	if err := os.Rename(files[0], pkg.Path); err != nil {
		return Package{}, fmt.Errorf("keep package %s: %w", rec, err)
	}
	if err := cachedir.Touch(pkg.Path); err != nil { // apt gives it the mirror's time
		return Package{}, err
	}
	return pkg, cachedir.Prune(c.debDir(), maxDebs)
}

func checkHash(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("the file has SHA-256 %s, want %s", got, want)
	}
	return nil
}
