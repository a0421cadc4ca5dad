package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	// entry64 is the 64-bit entry point of a bzImage, from the start of its
	// protected-mode code (boot.rst, "64-bit Boot Protocol").
	entry64 = 0x200
	// xlfKernel64 says that there is one (boot.rst, xloadflags).
	xlfKernel64 = 1 << 0
	// protocolXLoadFlags is the first protocol that has xloadflags.
	protocolXLoadFlags = 0x020c
)

// MaxCmdline is the longest kernel command line on x86, in bytes (Linux,
// COMMAND_LINE_SIZE less the final NUL). What is longer the kernel cuts off without a
// word.
const MaxCmdline = 2047

// Image is an opened kernel file that [Load] can put into guest memory.
type Image struct {
	file     *os.File
	segments []segment
	// entry is the guest-physical address of the 64-bit entry point.
	entry uint64
	// header is the setup header for the zero page, from offSetupSects on.
	header []byte
	// initrdEnd is the first guest-physical address that the initramfs may not
	// use.
	initrdEnd uint64
	// maxCmdline is the longest command line, in bytes without the NUL.
	maxCmdline int
}

// OpenImage opens the kernel at path, an ELF vmlinux or a bzImage with a 64-bit
// entry point, and reads its headers. It returns ErrNotKernel when the file is
// neither. The caller closes the image, at the earliest after [Load].
func OpenImage(path string) (*Image, error) {
	file, size, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("open kernel: %w", err)
	}
	img := &Image{file: file}
	if err := img.parse(size); err != nil {
		file.Close()
		return nil, fmt.Errorf("open kernel: %s: %w", path, err)
	}
	return img, nil
}

// Close closes the kernel file.
func (img *Image) Close() error {
	return img.file.Close()
}

func (img *Image) parse(size int64) error {
	var magic [4]byte
	if _, err := img.file.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(magic[:]) == "\x7fELF" {
		return img.parseELF(size)
	}
	return img.parseBzImage(size)
}

func (img *Image) parseELF(size int64) error {
	k, err := ParseELF(img.file, size)
	if err != nil {
		return err
	}
	if k.entry == 0 {
		return fmt.Errorf("%w: its entry point is in no segment", ErrNotKernel)
	}
	img.segments, img.entry = k.segments, k.entry
	img.header = elfSetupHeader()
	img.initrdEnd, img.maxCmdline = lowRAMEnd, MaxCmdline
	return nil
}

func (img *Image) parseBzImage(size int64) error {
	k, err := ParseBzImage(img.file, size)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	field := func(off int) []byte { return k.header[off-offSetupSects:] }
	if k.Protocol < protocolXLoadFlags || le.Uint16(field(offXLoadFlags))&xlfKernel64 == 0 {
		return fmt.Errorf("%w: it has no 64-bit entry point (boot protocol %d.%02d)", ErrNotKernel, k.Protocol>>8, k.Protocol&0xff)
	}
	// The kernel runs at its preferred address or above even when it is loaded
	// below, so another place would only cost it a move.
	addr := le.Uint64(field(offPrefAddress))
	code := size - k.protected
	room := max(uint64(le.Uint32(field(offInitSize))), uint64(code))
	if addr+room < addr || code <= entry64 {
		return fmt.Errorf("%w: %d bytes of code for %#x", ErrNotKernel, code, addr)
	}
	img.segments = []segment{{off: k.protected, filesz: code, addr: addr, memsz: room}}
	img.entry = addr + entry64
	img.header = k.header
	img.initrdEnd = min(uint64(le.Uint32(field(offInitrdAddrMax)))+1, lowRAMEnd)
	img.maxCmdline = int(min(le.Uint32(field(offCmdlineSize)), MaxCmdline))
	return nil
}

// openRegular opens a regular file and returns its size. Other files are not
// opened: that can block for ever or do something.
func openRegular(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	// The size is that of what was opened, should path be another file by now.
	if info, err = file.Stat(); err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}
