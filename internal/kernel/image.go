package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holtvm/holt/internal/boot"
)

// arch is the one architecture whose kernels are known, as Go names it.
const arch = "amd64"

// image is an opened kernel file of either format. Exactly one of elf and bz
// is set.
type image struct {
	*os.File
	elf *boot.ELFKernel
	bz  *boot.BzImage
	// release is what uname -r says in the guest, or "".
	release string
}

// openImage opens a kernel file and reads its headers.
func openImage(path string) (*image, error) {
	info, err := os.Stat(path) // before opening, which waits for ever on a FIFO
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open kernel: %s: %w: not a regular file", path, boot.ErrNotKernel)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("open kernel: %w (some distributions let only root read kernels in /boot: `sudo chmod a+r` it, or use `holt kernel fetch`)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open kernel: %w", err)
	}
	img := &image{File: f}
	if err := img.parse(info.Size()); err != nil {
		f.Close()
		return nil, fmt.Errorf("open kernel: %s: %w", path, err)
	}
	return img, nil
}

func (img *image) parse(size int64) (err error) {
	if size > boot.MaxUnpacked {
		return fmt.Errorf("%w: it has %d bytes, the limit is %d", boot.ErrNotKernel, size, boot.MaxUnpacked)
	}
	var magic [4]byte
	if _, err := img.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(magic[:]) == "\x7fELF" {
		if img.elf, err = boot.ParseELF(img, size); err != nil {
			return err
		}
		img.release, err = img.elf.Release()
		return err
	}
	if img.bz, err = boot.ParseBzImage(img, size); err == nil {
		img.release = img.bz.Release
	}
	return err
}

// store writes the image into dir and completes the manifest with it. A
// bzImage is unpacked when the kernel inside can be booted by itself: then no
// guest has to do it again.
func (img *image) store(dir string, m *Manifest) error {
	m.Arch = arch
	if img.elf != nil {
		m.Image, m.ImageFormat, m.PVH = elfFile, FormatELF, img.elf.PVHEntry != 0
		return img.copy(dir, m)
	}
	m.Image, m.ImageFormat, m.PVH = elfFile, FormatELF, true
	path := filepath.Join(dir, elfFile)
	err := writeHashed(path, m, img.bz.Unpack)
	if err != nil && !errors.Is(err, boot.ErrUnsupportedPayload) {
		return fmt.Errorf("kernel %s: %w", img.Name(), err)
	}
	if err == nil && hasPVH(path) {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	m.Image, m.ImageFormat, m.PVH = bzImageFile, FormatBzImage, false
	return img.copy(dir, m)
}

func (img *image) copy(dir string, m *Manifest) error {
	return writeHashed(filepath.Join(dir, m.Image), m, func(w io.Writer) error {
		if _, err := img.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(w, img.File)
		return err
	})
}

// hasPVH says whether path is an ELF kernel with a PVH entry point.
func hasPVH(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false
	}
	k, err := boot.ParseELF(f, info.Size())
	return err == nil && k.PVHEntry != 0
}

// writeHashed creates path with what fill writes and puts its hash into m.
func writeHashed(path string, m *Manifest, fill func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	h := sha256.New()
	err = fill(io.MultiWriter(f, h))
	m.SHA256 = hex.EncodeToString(h.Sum(nil))
	return errors.Join(err, f.Close())
}
