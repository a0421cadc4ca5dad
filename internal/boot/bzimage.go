// Package boot knows what it takes to start Linux: the image formats of the
// x86 boot protocol, the kernel command line, the initramfs archive, and how
// all of it lies in guest memory ([Load]). It reads files that a user may have
// got from anywhere, so every offset in them is checked.
package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/holtvm/holt/internal/decompress"
)

// ErrNotKernel says that a file is not the kind of kernel image that it was
// read as. The wrapping error says what is wrong with it.
var ErrNotKernel = errors.New("not a kernel image")

// ErrUnsupportedPayload says that a bzImage is sound, but packed in a way
// that cannot be unpacked here. It can still be booted as it is.
var ErrUnsupportedPayload = errors.New("unsupported kernel payload")

// MaxUnpacked is the largest kernel that Unpack makes, in bytes.
const MaxUnpacked = 512 << 20

// Offsets in the setup header (Linux, Documentation/arch/x86/boot.rst,
// "The Real-Mode Kernel Header").
const (
	offSetupSects    = 0x1f1
	offVidMode       = 0x1fa
	offBootFlag      = 0x1fe
	offHeaderLength  = 0x201
	offMagic         = 0x202
	offProtocol      = 0x206
	offKernelVersion = 0x20e
	offTypeOfLoader  = 0x210
	offLoadFlags     = 0x211
	offCode32Start   = 0x214
	offRamdiskImage  = 0x218
	offRamdiskSize   = 0x21c
	offCmdLinePtr    = 0x228
	offInitrdAddrMax = 0x22c
	offAlignment     = 0x230
	offXLoadFlags    = 0x236
	offCmdlineSize   = 0x238
	offPayload       = 0x248
	offPayloadLength = 0x24c
	offSetupData     = 0x250
	offPrefAddress   = 0x258
	offInitSize      = 0x260
	headerEnd        = 0x268
	maxHeaderEnd     = 0x290 // what the zero page has room for

	sector      = 512
	bootFlag    = 0xaa55
	headerMagic = "HdrS"
	minProtocol = 0x0208 // the first with payload_offset
)

// BzImage is a bootable x86 kernel file.
type BzImage struct {
	// Release is what uname -r says in this kernel, or "" if the file does
	// not tell.
	Release string
	// Protocol is the boot protocol version, major in the high byte.
	Protocol uint16

	payload *io.SectionReader
	// header is the setup header, from offSetupSects on; at least to headerEnd.
	header []byte
	// protected is where the protected-mode code starts in the file.
	protected int64
}

// ParseBzImage reads the setup header of the size bytes in r. It returns
// ErrNotKernel when they are not a bzImage.
func ParseBzImage(r io.ReaderAt, size int64) (*BzImage, error) {
	if size < maxHeaderEnd {
		return nil, fmt.Errorf("%w: %d bytes are too short for a bzImage", ErrNotKernel, size)
	}
	head := make([]byte, maxHeaderEnd)
	if _, err := r.ReadAt(head, 0); err != nil {
		return nil, fmt.Errorf("read setup header: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint16(head[offBootFlag:]) != bootFlag || string(head[offMagic:offMagic+4]) != headerMagic {
		return nil, fmt.Errorf("%w: no setup header of the x86 boot protocol", ErrNotKernel)
	}
	end := min(max(offMagic+int(head[offHeaderLength]), headerEnd), maxHeaderEnd)
	img := &BzImage{Protocol: le.Uint16(head[offProtocol:]), header: head[offSetupSects:end]}
	if img.Protocol < minProtocol {
		return nil, fmt.Errorf("%w: boot protocol %d.%02d, need 2.08 or later", ErrNotKernel, img.Protocol>>8, img.Protocol&0xff)
	}
	sects := int64(head[offSetupSects])
	if sects == 0 {
		sects = 4 // what zero means, for the oldest kernels' sake
	}
	img.protected = (sects + 1) * sector
	start := img.protected + int64(le.Uint32(head[offPayload:]))
	length := int64(le.Uint32(head[offPayloadLength:]))
	if length < 4 || start+length > size {
		return nil, fmt.Errorf("%w: payload of %d bytes at %d is outside the %d bytes of the file", ErrNotKernel, length, start, size)
	}
	img.payload = io.NewSectionReader(r, start, length)
	release, err := readRelease(r, int64(le.Uint16(head[offKernelVersion:])), img.protected)
	if err != nil {
		return nil, err
	}
	img.Release = release
	return img, nil
}

// readRelease reads the string that kernel_version points to: the release,
// a space, and who built it when.
func readRelease(r io.ReaderAt, offset, protected int64) (string, error) {
	start := offset + 0x200
	if offset == 0 || start >= protected {
		return "", nil
	}
	buf := make([]byte, min(maxRelease+1, protected-start))
	if _, err := r.ReadAt(buf, start); err != nil {
		return "", fmt.Errorf("read kernel version: %w", err)
	}
	end := bytes.IndexAny(buf, " \x00")
	if end < 0 || !ValidRelease(string(buf[:end])) {
		return "", nil
	}
	return string(buf[:end]), nil
}

// maxRelease is the longest kernel release, in bytes (Linux, __NEW_UTS_LEN).
const maxRelease = 64

// ValidRelease says whether s can be a kernel release (uname -r), and so be
// part of a file name.
func ValidRelease(s string) bool {
	if len(s) == 0 || len(s) > maxRelease || s[0] < '0' || s[0] > '9' {
		return false
	}
	const others = "._+~-"
	return strings.IndexFunc(s, func(c rune) bool {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		return !letter && (c < '0' || c > '9') && !strings.ContainsRune(others, c)
	}) < 0
}

// Unpack writes the ELF kernel inside the bzImage to w. It returns
// ErrUnsupportedPayload when the compression is unknown, and another error
// when the payload is damaged or larger than MaxUnpacked.
func (b *BzImage) Unpack(w io.Writer) error {
	// The payload ends with its unpacked size: kbuild appends it, or it is
	// the last field of the gzip trailer. Only gzip may be given it.
	packed := b.payload.Size() - 4
	var tail [4]byte
	if _, err := b.payload.ReadAt(tail[:], packed); err != nil {
		return fmt.Errorf("read kernel payload: %w", err)
	}
	want := int64(binary.LittleEndian.Uint32(tail[:]))
	var magic [2]byte
	if _, err := b.payload.ReadAt(magic[:], 0); err == nil && magic == [2]byte{0x1f, 0x8b} {
		packed += 4
	}
	format, rc, err := decompress.NewReader(io.NewSectionReader(b.payload, 0, packed))
	if errors.Is(err, decompress.ErrUnsupported) {
		return fmt.Errorf("%w: %w", ErrUnsupportedPayload, err)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotKernel, err)
	}
	defer rc.Close()
	if want > MaxUnpacked {
		return fmt.Errorf("%w: payload claims %d bytes unpacked, the limit is %d", ErrNotKernel, want, MaxUnpacked)
	}
	n, err := io.Copy(w, io.LimitReader(rc, want+1))
	if err != nil {
		return fmt.Errorf("unpack %s payload: %w", format, err)
	}
	if n != want {
		return fmt.Errorf("%w: %s payload does not unpack to the %d bytes that it claims", ErrNotKernel, format, want)
	}
	return nil
}
