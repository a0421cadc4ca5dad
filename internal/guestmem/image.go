package guestmem

import (
	"errors"
	"fmt"
	"math"
	"os"
)

// Image is guest memory in files. A page's offset in it is that of the page in guest
// memory's regions, laid one after the other in the order of guest addresses.
//
// The files stay the caller's. They must stay open, and nobody may write to them or
// shorten them, as long as a [Memory] is based on the image: a mapping shows what
// becomes of its file, and faults beyond its end.
type Image struct {
	Size   uint64  // bytes; whole pages
	Layers []Layer // the oldest first; a page is read from the last layer that has it
}

// Layer is one file of an image. It has the image's size, and each page at the same
// offset as the image.
type Layer struct {
	File *os.File
	// Runs are the pages of the file that count, in order and without overlap; zeros
	// in them are data like any other. Of the first layer all pages count, and Runs is
	// nil; of the others it never is.
	Runs []Run
}

// pages is the image's size in pages, for an image that was checked.
func (img *Image) pages() uint32 { return uint32(img.Size / PageSize) }

// Check returns an error unless the image can be mapped: its size is whole pages, each
// file has at least that size, and the layers' runs are in order and inside it.
func (img *Image) Check() error {
	switch {
	case os.Getpagesize() != PageSize:
		return fmt.Errorf("memory image: pages have %d bytes on this host, not %d", os.Getpagesize(), PageSize)
	case img.Size == 0 || img.Size%PageSize != 0 || img.Size/PageSize > math.MaxUint32:
		return fmt.Errorf("memory image: bad size of %d bytes", img.Size)
	case len(img.Layers) == 0:
		return errors.New("memory image: no layers")
	}
	for i, l := range img.Layers {
		if err := img.checkLayer(i, l); err != nil {
			return fmt.Errorf("memory image: layer %d: %w", i, err)
		}
	}
	return nil
}

func (img *Image) checkLayer(i int, l Layer) error {
	if (i == 0) != (l.Runs == nil) {
		return errors.New("the first layer is whole, and only the first")
	}
	if err := checkRuns(l.Runs, img.pages()); err != nil {
		return err
	}
	st, err := l.File.Stat()
	if err != nil {
		return err
	}
	if st.Size() < 0 || uint64(st.Size()) < img.Size {
		return fmt.Errorf("the file has %d bytes, the image %d", st.Size(), img.Size)
	}
	return nil
}
