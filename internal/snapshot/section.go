package snapshot

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Names of a snapshot's sections, which are files in its directory. A saved disk's is
// [DiskSection]'s.
const (
	// State is what the machine knows beside its memory. At most 256 MiB; opaque here.
	State = "state.json"
	// Memory is guest memory, raw and sparse: Manifest.Memory bytes.
	Memory = "memory"
	// Pages says which pages of a differential snapshot's memory count
	// ([guestmem.EncodeRuns]). A whole snapshot has none: all of its memory counts.
	Pages = "pages"

	manifestName   = "manifest.json"
	workingSetName = "working-set"
)

// DiskSection is the name of the section with a disk's content, raw and sparse.
func DiskSection(disk string) string { return "disk-" + disk }

// ErrDamaged is wrapped by the error about a snapshot or an archive whose bytes are not
// those that were written.
var ErrDamaged = errors.New("is damaged")

// openFile opens a file of a snapshot for reading, and returns its size. It must be a
// regular file of that directory: nothing else has a content that can be relied on.
func openFile(dir, name string) (*os.File, int64, error) {
	// O_NONBLOCK does not wait for the writer of a named pipe.
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.Name())
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// open opens a section and checks its size.
func (s Section) open(dir string) (*os.File, error) {
	f, size, err := openFile(dir, s.Name)
	if err == nil && size != s.Size {
		f.Close()
		err = fmt.Errorf("%d bytes, and it had %d: %w", size, s.Size, ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", s.Name, err)
	}
	return f, nil
}

// read returns a small section's content. The sum is checked.
func (s Section) read(dir string) ([]byte, error) {
	f, err := s.open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, s.Size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("section %s: %w", s.Name, err)
	}
	if sum := crc32.Checksum(b, castagnoli); sum != s.CRC32C {
		return nil, s.differs(sum)
	}
	return b, nil
}

// verify reads a section of any size and checks its sum.
func (s Section) verify(ctx context.Context, dir string) error {
	f, err := s.open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, _, err := sumFile(ctx, f, s.Size)
	if err != nil {
		return fmt.Errorf("section %s: %w", s.Name, err)
	}
	if sum != s.CRC32C {
		return s.differs(sum)
	}
	return nil
}

func (s Section) differs(sum uint32) error {
	return fmt.Errorf("section %s: its checksum is %08x, and it was %08x: %w", s.Name, sum, s.CRC32C, ErrDamaged)
}
