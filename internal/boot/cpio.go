package boot

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// The newc archive format (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst): a header of
// hexadecimal digits, the name with its NUL, the content; each padded to four
// bytes.
const (
	cpioMagic     = "070701"
	cpioMagicSum  = "070702" // with a checksum of each file's content
	cpioHeaderLen = 110
	cpioTrailer   = "TRAILER!!!"
	cpioMaxName   = 4095 // PATH_MAX less the NUL
	cpioMaxSize   = 1<<32 - 1
)

// File types in CPIOHeader.Mode (stat(2)).
const (
	ModeType    = 0o170000
	ModeDir     = 0o040000
	ModeChar    = 0o020000
	ModeBlock   = 0o060000
	ModeRegular = 0o100000
	ModeSymlink = 0o120000
	ModeFIFO    = 0o010000
	ModeSocket  = 0o140000
)

// CPIOHeader describes one entry of an archive.
type CPIOHeader struct {
	// Name is relative and clean; "." is the root directory itself.
	Name string
	// Mode is the file type and the permission bits, as in stat(2).
	Mode     uint32
	UID, GID uint32
	// Size is the length of the content in bytes, of a symbolic link the
	// length of its target.
	Size int64
	// RDevMajor and RDevMinor are the numbers of a device node.
	RDevMajor, RDevMinor uint32
	// MTime is in seconds since 1970.
	MTime uint32
	// Links is the number of hard links. Entries of one type with more than one
	// link and the same inode on the same device are one file, of which any
	// entry may carry the content; usually it is the last. The writer takes 0
	// for 1.
	Links uint32
	// Inode tells files apart. The writer uses it when there is more than one
	// link; the others it counts.
	Inode uint32
	// DevMajor and DevMinor are the numbers of the device that holds the file.
	// They are set by the reader only.
	DevMajor, DevMinor uint32
}

// cleanName checks an entry's name and makes it relative. Names that climb
// with ".." are refused, not resolved.
func cleanName(name string) (string, error) {
	if name == "" || len(name) > cpioMaxName || strings.Contains(name, "\x00") {
		return "", fmt.Errorf("cpio: bad name of %d bytes", len(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("cpio: name %q leaves the archive", name)
		}
	}
	if name = path.Clean("/" + name)[1:]; name == "" {
		return ".", nil
	}
	return name, nil
}

// CPIOEntrySize is how many bytes an entry takes in an archive, with its content
// and all padding. Its name must be clean.
func CPIOEntrySize(h CPIOHeader) int64 {
	head := cpioHeaderLen + int64(len(h.Name)) + 1
	return head + pad4(head) + h.Size + pad4(h.Size)
}

// CPIOTrailerSize is how many bytes the end of an archive takes.
const CPIOTrailerSize = 124

// pad4 is the number of bytes that fill n up to a multiple of four.
func pad4(n int64) int64 { return -n & 3 }

// CPIOWriter writes a newc archive. The same entries always give the same
// bytes.
type CPIOWriter struct {
	w     io.Writer
	inode uint32
}

// NewCPIOWriter returns a writer to w. The caller buffers w.
func NewCPIOWriter(w io.Writer) *CPIOWriter { return &CPIOWriter{w: w} }

// Write adds an entry with h.Size bytes from content, which may be nil when
// the size is zero. Directories must come before what is in them.
func (c *CPIOWriter) Write(h CPIOHeader, content io.Reader) error {
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if name == cpioTrailer {
		return fmt.Errorf("cpio: %q cannot be a name", name)
	}
	h.Name = name
	if h.Size < 0 || h.Size > cpioMaxSize {
		return fmt.Errorf("cpio: %s: size %d is impossible", name, h.Size)
	}
	if h.Links <= 1 {
		c.inode++
		h.Inode, h.Links = c.inode, 1
	}
	if err := c.header(h); err != nil {
		return err
	}
	if h.Size == 0 {
		return nil
	}
	if _, err := io.CopyN(c.w, content, h.Size); err != nil {
		return fmt.Errorf("cpio: write %s: %w", name, err)
	}
	return c.pad(h.Size)
}

// Close ends the archive. It does not close the underlying writer.
func (c *CPIOWriter) Close() error {
	return c.header(CPIOHeader{Name: cpioTrailer, Links: 1})
}

func (c *CPIOWriter) header(h CPIOHeader) error {
	fields := [13]uint32{h.Inode, h.Mode, h.UID, h.GID, h.Links, h.MTime, uint32(h.Size), 0, 0, h.RDevMajor, h.RDevMinor, uint32(len(h.Name) + 1), 0}
	buf := make([]byte, 0, cpioHeaderLen+len(h.Name)+4)
	buf = append(buf, cpioMagic...)
	for _, f := range fields {
		buf = fmt.Appendf(buf, "%08x", f)
	}
	buf = append(buf, h.Name...)
	buf = append(buf, 0)
	if _, err := c.w.Write(buf); err != nil {
		return fmt.Errorf("cpio: write header of %s: %w", h.Name, err)
	}
	return c.pad(int64(len(buf)))
}

func (c *CPIOWriter) pad(n int64) error {
	_, err := c.w.Write(make([]byte, pad4(n)))
	return err
}
