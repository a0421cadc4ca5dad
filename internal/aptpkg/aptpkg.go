// Package aptpkg gets packages of the host's Debian or Ubuntu through the
// distribution's own package manager, as any user, and unpacks files from
// them. apt checks the signatures. Nothing is installed.
package aptpkg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/holtvm/holt/internal/flock"
)

var (
	// ErrNoApt says that the host has no apt-get.
	ErrNoApt = errors.New("apt-get is not installed: packages can be fetched on Debian and Ubuntu only")
	// ErrNotFound says that no package list, not even a fresh one, has a
	// package.
	ErrNotFound = errors.New("package not found")
)

// lists are the package lists in use, from the cheapest to the freshest.
type lists int

const (
	listsHost    lists = iota // the host's own, which may be missing or old
	listsPrivate              // the client's own, updated less than maxListAge ago
	listsUpdated              // the client's own, updated just now
)

// maxListAge is how long the private lists count as fresh.
const maxListAge = 24 * time.Hour

// Client fetches packages. When the host's package lists lack a package, or
// name one that the mirror no longer has, it updates lists of its own, which
// needs no root, and uses them as long as they are fresh. It is not safe for concurrent use by
// goroutines; several processes may share a cache directory.
type Client struct {
	dir      string
	progress func(string)
	lists    lists
	// updateErr is why updating the lists was not a full success.
	updateErr error
}

// New returns a client that keeps lists and packages in cacheDir, and tells
// progress (which may be nil) what it is about to do. It returns ErrNoApt
// where there is no apt.
func New(cacheDir string, progress func(string)) (*Client, error) {
	for _, tool := range []string{"apt-get", "apt-cache"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, ErrNoApt
		}
	}
	if progress == nil {
		progress = func(string) {}
	}
	c := &Client{dir: cacheDir, progress: progress}
	// The subdirectories named partial are apt's: it does not make them.
	for _, dir := range []string{c.listDir() + "/partial", c.cacheDir() + "/archives/partial", c.debDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("create package cache: %w", err)
		}
	}
	if info, err := os.Stat(c.stamp()); err == nil && time.Since(info.ModTime()) < maxListAge {
		c.lists = listsPrivate
	}
	return c, nil
}

func (c *Client) listDir() string  { return filepath.Join(c.dir, "lists") }
func (c *Client) cacheDir() string { return filepath.Join(c.dir, "cache") }
func (c *Client) debDir() string   { return filepath.Join(c.dir, "debs") }

// stamp is a file whose age is the age of the private lists.
func (c *Client) stamp() string { return filepath.Join(c.dir, "updated") }

func (c *Client) lock(ctx context.Context) (*flock.Lock, error) {
	return flock.Acquire(ctx, filepath.Join(c.dir, "lock"))
}

// Find returns the record of the first of names that the package lists have,
// or ErrNotFound.
func (c *Client) Find(ctx context.Context, names ...string) (Record, error) {
	for {
		for _, name := range names {
			rec, err := c.show(ctx, name)
			if err == nil || !errors.Is(err, ErrNotFound) {
				return rec, err
			}
		}
		if c.lists == listsUpdated {
			return Record{}, errors.Join(fmt.Errorf("%w: %q", ErrNotFound, names), c.updateErr)
		}
		if err := c.update(ctx); err != nil {
			return Record{}, err
		}
	}
}

// Download returns the package file of the newest version of name, from the
// cache if it is there.
func (c *Client) Download(ctx context.Context, name string) (Package, error) {
	for {
		rec, err := c.Find(ctx, name)
		if err != nil {
			return Package{}, err
		}
		pkg, err := c.download(ctx, rec)
		if err == nil || ctx.Err() != nil || c.lists == listsUpdated {
			return pkg, err
		}
		// The mirror may have dropped what old lists name.
		if updateErr := c.update(ctx); updateErr != nil {
			return Package{}, errors.Join(err, updateErr)
		}
	}
}

// update goes on to private lists that are as new as can be.
func (c *Client) update(ctx context.Context) error {
	lock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	c.lists = listsUpdated
	c.progress("updating a private copy of the package lists")
	if _, err := c.run(ctx, "", "apt-get", "update", "-q"); err != nil {
		// One bad source among several fails the whole; what is needed may
		// have come from the others.
		c.updateErr = fmt.Errorf("update package lists: %w", err)
		return ctx.Err()
	}
	if err := os.WriteFile(c.stamp(), nil, 0o644); err != nil {
		return err
	}
	return os.Chtimes(c.stamp(), time.Time{}, time.Now())
}
