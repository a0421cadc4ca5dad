package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/guestmem"
)

// Commit finishes the snapshot: all that was written is on the disk, and others see it,
// when it returns. The manifest's Version, ID, Name, Arch and Sections are filled in,
// and Created if it is zero. No section may be written any more, by anybody. Sections
// are read to sum them up, which takes time for large ones: the VM need not wait for it.
//
// Errors are an *[ExistsError] when the name was taken meanwhile, and [ErrNotFound] when
// the parent was removed; Abort is left to the caller then.
func (d *Draft) Commit(ctx context.Context, m Manifest) (*Snapshot, error) {
	m.Version, m.ID, m.Name, m.Arch = Version, d.ID, d.Name, runtime.GOARCH
	if m.Created.IsZero() {
		m.Created = time.Now().UTC()
	}
	s := &Snapshot{m, d.store}
	if err := d.commit(ctx, s); err != nil {
		return nil, fmt.Errorf("make snapshot %s: %w", m.Label(), err)
	}
	d.lock.Close()
	d.Path = ""
	return s, nil
}

func (d *Draft) commit(ctx context.Context, s *Snapshot) (err error) {
	if s.Manifest.Sections, err = d.sections(ctx); err != nil {
		return err
	}
	if err := s.Manifest.checkSections(); err != nil {
		return err
	}
	if err := d.checkPages(s.Manifest); err != nil {
		return err
	}
	if err := d.writeManifest(s.Manifest); err != nil {
		return err
	}
	return d.publish(ctx, s)
}

// sections sums up what was written, and brings it to the disk.
func (d *Draft) sections(ctx context.Context) ([]Section, error) {
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return nil, err
	}
	var all []Section
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		one, err := finish(ctx, d.Path, e.Name())
		if err != nil {
			return nil, fmt.Errorf("section %s: %w", e.Name(), err)
		}
		all = append(all, one)
		d.store.stepped()
	}
	return all, nil
}

// finish syncs and sums one section.
func finish(ctx context.Context, dir, name string) (Section, error) {
	f, size, err := openFile(dir, name)
	if err != nil {
		return Section{}, err
	}
	defer f.Close()
	// Some file systems see holes only once the data before them is written.
	if err := f.Sync(); err != nil {
		return Section{}, err
	}
	sum, data, err := sumFile(ctx, f, size)
	return Section{Name: name, Size: size, Data: data, CRC32C: sum}, err
}

// checkPages says whether the list of pages can be read again.
func (d *Draft) checkPages(m Manifest) error {
	pages, ok := m.section(Pages)
	if !ok {
		return nil
	}
	b, err := pages.read(d.Path)
	if err != nil {
		return err
	}
	if _, err := guestmem.DecodeRuns(b, m.pages()); err != nil {
		return fmt.Errorf("section %s: %w", Pages, err)
	}
	return nil
}

func (d *Draft) writeManifest(m Manifest) error {
	text, err := encodeManifest(m)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(d.Path, manifestName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	d.store.stepped()
	if _, err := f.Write(text); err != nil {
		return err
	}
	d.store.stepped()
	return f.Sync()
}

// publish gives the directory its name.
func (d *Draft) publish(ctx context.Context, s *Snapshot) error {
	names, err := d.store.lock(ctx)
	if err != nil {
		return err
	}
	defer names.Unlock()
	if err := d.store.checkFree(d.Name); err != nil {
		return err
	}
	if _, err := s.chain(); err != nil {
		return err
	}
	// From here on it counts as dead, but nobody looks before the names are unlocked.
	if err := os.Remove(filepath.Join(d.Path, lockName)); err != nil {
		return err
	}
	d.store.stepped()
	if err := atomicfile.SyncDir(d.Path); err != nil {
		return err
	}
	// os.Rename refuses to replace a directory.
	if err := os.Rename(d.Path, s.Path()); err != nil {
		return err
	}
	d.store.stepped()
	if err := atomicfile.SyncDir(d.store.dir); err != nil {
		return errors.Join(err, atomicfile.RemoveDir(s.Path()))
	}
	d.store.stepped()
	return nil
}
