package guestmem

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// dataRuns is the pages of the image's first layer that are no hole in its file. On a
// filesystem that knows no holes that is all of them.
func (img *Image) dataRuns() ([]Run, error) {
	f, size := img.Layers[0].File, int64(img.Size)
	var runs []Run
	for off := int64(0); off < size; {
		data, err := seek(f, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && data >= size {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("find data in a memory image: %w", err)
		}
		hole, err := seek(f, data, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("find holes in a memory image: %w", err)
		}
		first := data / PageSize
		end := (min(hole, size) + PageSize - 1) / PageSize
		runs = extend(runs, Run{uint32(first), uint32(end - first)})
		off = hole
	}
	return runs, nil
}

// seek moves the file's position, which nobody here uses.
func seek(f *os.File, off int64, whence int) (int64, error) {
	return unix.Seek(int(f.Fd()), off, whence)
}
