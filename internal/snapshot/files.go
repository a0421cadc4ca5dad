package snapshot

import (
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/holtvm/holt/internal/guestmem"
)

// Files is what a machine goes on from.
type Files struct {
	// State is the section [State].
	State []byte
	// Memory is guest memory: this snapshot's, above those that it lies on.
	Memory *guestmem.Image
	// Disks has the content of each disk that is saved, by its name. The files are open
	// for reading only.
	Disks map[string]*os.File
	// WorkingSet is which pages a guest needed soon after it went on, or nil if nobody
	// has told yet. It is advice, so it is nil as well when it cannot be read.
	WorkingSet []guestmem.Run
}

// Open opens what the snapshot has. Sizes of all files are checked, and the sums of
// small ones. Guest memory and disks are not read, however large they are, so their
// sums are not checked: [Snapshot.Verify] does that. A damaged snapshot is
// [ErrDamaged], and one that is removed meanwhile [os.ErrNotExist] or [ErrNotFound].
func (s *Snapshot) Open() (*Files, error) {
	if s.Manifest.Arch != runtime.GOARCH {
		return nil, fmt.Errorf("open snapshot %s: it was made on %s, and this is %s", s.Manifest.Label(), s.Manifest.Arch, runtime.GOARCH)
	}
	f := &Files{Disks: map[string]*os.File{}}
	if err := s.open(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("open snapshot %s: %w", s.Manifest.Label(), err)
	}
	return f, nil
}

func (s *Snapshot) open(f *Files) (err error) {
	state, _ := s.Manifest.section(State)
	if f.State, err = state.read(s.Path()); err != nil {
		return err
	}
	if f.Memory, err = s.openMemory(); err != nil {
		return err
	}
	for _, d := range s.Manifest.Needs.Disks {
		if d.Saved {
			disk, _ := s.Manifest.section(DiskSection(d.Name))
			if f.Disks[d.Name], err = disk.open(s.Path()); err != nil {
				return err
			}
		}
	}
	f.WorkingSet = s.workingSet()
	return nil
}

// openMemory opens the memory of the snapshot and of those that it lies on.
func (s *Snapshot) openMemory() (_ *guestmem.Image, err error) {
	chain, err := s.chain()
	if err != nil {
		return nil, err
	}
	img := &guestmem.Image{Size: s.Manifest.Memory}
	defer func() {
		if err != nil {
			closeLayers(img)
		}
	}()
	for _, one := range slices.Backward(chain) {
		var layer guestmem.Layer
		if layer.Runs, err = one.runs(); err == nil {
			memory, _ := one.Manifest.section(Memory)
			layer.File, err = memory.open(one.Path())
		}
		if err != nil {
			if one != s {
				err = fmt.Errorf("snapshot %s below it: %w", one.Manifest.Label(), err)
			}
			return nil, err
		}
		img.Layers = append(img.Layers, layer)
	}
	return img, img.Check()
}

// runs returns the pages of memory that count: nil if the snapshot is whole.
func (s *Snapshot) runs() ([]guestmem.Run, error) {
	pages, ok := s.Manifest.section(Pages)
	if !ok {
		return nil, nil
	}
	b, err := pages.read(s.Path())
	if err != nil {
		return nil, err
	}
	runs, err := guestmem.DecodeRuns(b, s.Manifest.pages())
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", Pages, err)
	}
	return runs, nil
}

// Close closes the files. [guestmem.Image] says how long memory's must stay open.
func (f *Files) Close() {
	if f.Memory != nil {
		closeLayers(f.Memory)
	}
	for _, d := range f.Disks {
		d.Close()
	}
}

func closeLayers(img *guestmem.Image) {
	for _, l := range img.Layers {
		l.File.Close()
	}
}
