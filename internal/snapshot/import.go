package snapshot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// Import makes a snapshot of an archive that [Snapshot.Export] wrote. It has another id,
// and the name that is given or, if that is empty, the archive's; a name that is taken
// is an *[ExistsError]. An archive that is not what was written is [ErrDamaged]. Nothing
// stays of one that cannot be imported.
//
// Nothing in an archive is believed before it is checked; but what it says of itself is
// not proven: it has sums and no signature.
func (s *Store) Import(ctx context.Context, r io.Reader, name string) (*Snapshot, error) {
	one, err := s.importFrom(ctx, r, name)
	if err != nil {
		return nil, fmt.Errorf("import a snapshot: %w", err)
	}
	return one, nil
}

func (s *Store) importFrom(ctx context.Context, r io.Reader, name string) (*Snapshot, error) {
	a, err := openArchive(bufio.NewReaderSize(r, 256<<10))
	if err != nil {
		return nil, err
	}
	defer a.close()
	m, err := a.manifest(ctx)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = m.Name
	}
	d, err := s.Begin(ctx, name)
	if err != nil {
		return nil, err
	}
	defer d.Abort()
	missing := m.sizes()
	for {
		section, size, err := a.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		want, ok := missing[section]
		if !ok {
			return nil, fmt.Errorf("section %.80q: is there twice, or this snapshot has none", section)
		}
		delete(missing, section)
		if err := checkSize(section, size, want); err != nil {
			return nil, err
		}
		if err := a.unpack(ctx, d, section, size); err != nil {
			return nil, fmt.Errorf("section %s: %w", section, err)
		}
	}
	if err := checkMissing(missing); err != nil {
		return nil, err
	}
	m.Imported = true
	return d.Commit(ctx, m)
}

// manifest reads the first section, and checks it.
func (a *archiveReader) manifest(ctx context.Context) (m Manifest, err error) {
	name, size, err := a.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return m, err
	}
	if err != nil || name != manifestName {
		return m, fmt.Errorf("the archive does not begin with a section %s", manifestName)
	}
	if size > maxManifest {
		return m, fmt.Errorf("section %s: %d bytes, and at most %d are possible", name, size, maxManifest)
	}
	text := make([]byte, size)
	err = a.body(ctx, size, func(off int64, b []byte) error {
		copy(text[off:], b)
		return nil
	})
	if err != nil {
		return m, fmt.Errorf("section %s: %w", name, err)
	}
	if m, err = decodeManifest(text); err != nil {
		return m, err
	}
	switch {
	case m.Parent != "" || m.Sections != nil:
		return m, errors.New("manifest: that of an archive has no parent and no sections")
	case m.Arch != runtime.GOARCH:
		return m, fmt.Errorf("the snapshot was made on %s, and this is %s", m.Arch, runtime.GOARCH)
	}
	return m, nil
}

// unpack writes a section into a draft. Pages of zeros become holes.
func (a *archiveReader) unpack(ctx context.Context, d *Draft, section string, size int64) error {
	f, err := d.Create(section)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	return a.body(ctx, size, func(off int64, b []byte) error {
		return eachNonZero(off, b, func(off int64, b []byte) error {
			_, err := f.WriteAt(b, off)
			return err
		})
	})
}
