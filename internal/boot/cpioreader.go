package boot

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// CPIOLimits bound what an archive may make its reader do.
type CPIOLimits struct {
	// Entries is the largest number of entries.
	Entries int
	// Bytes is the largest sum of all sizes.
	Bytes int64
}

// CPIOReader reads a newc archive, with checksums or without, that nobody
// vouches for.
type CPIOReader struct {
	r    io.Reader
	left CPIOLimits
	// body is what is left of the current entry's content, then its padding.
	body, padding int64
	sum           checksum
}

// checksum is the sum of a file's bytes, modulo 2³².
type checksum struct {
	name      string // of the file, "" if there is nothing to check
	want, got uint32
}

// NewCPIOReader returns a reader of r. The caller buffers r.
func NewCPIOReader(r io.Reader, limits CPIOLimits) *CPIOReader {
	return &CPIOReader{r: r, left: limits}
}

// Next skips to the next entry and returns it, or io.EOF after the last: then
// nothing beyond the end of the archive has been read. Names come out relative
// and clean; an entry whose name has ".." in it, or whose type and size
// disagree, is an error.
func (c *CPIOReader) Next() (CPIOHeader, error) {
	if err := c.skip(); err != nil {
		return CPIOHeader{}, err
	}
	var raw [cpioHeaderLen]byte
	if _, err := io.ReadFull(c.r, raw[:]); err != nil {
		return CPIOHeader{}, fmt.Errorf("cpio: read header: %w", unexpected(err))
	}
	fields, err := parseHeader(raw[:])
	if err != nil {
		return CPIOHeader{}, err
	}
	h := CPIOHeader{
		Inode: fields[0], Mode: fields[1], UID: fields[2], GID: fields[3], Links: fields[4], MTime: fields[5],
		Size: int64(fields[6]), DevMajor: fields[7], DevMinor: fields[8], RDevMajor: fields[9], RDevMinor: fields[10],
	}
	name, err := c.readName(fields[11])
	if err != nil {
		return CPIOHeader{}, err
	}
	if name == cpioTrailer {
		return CPIOHeader{}, io.EOF
	}
	if h.Name, err = cleanName(name); err != nil {
		return CPIOHeader{}, err
	}
	if err := c.admit(h); err != nil {
		return CPIOHeader{}, err
	}
	c.body, c.padding, c.sum = h.Size, pad4(h.Size), checksum{}
	// Only the entry that carries a file's content has its sum.
	if string(raw[:len(cpioMagicSum)]) == cpioMagicSum && h.Mode&ModeType == ModeRegular && h.Size > 0 {
		c.sum = checksum{name: h.Name, want: fields[12]}
	}
	return h, nil
}

// Read reads the content of the current entry. If that has a wrong checksum, the
// error comes in the place of the end, and from Next.
func (c *CPIOReader) Read(p []byte) (int, error) {
	if c.body == 0 {
		return 0, c.sum.end()
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.body)])
	c.body -= int64(n)
	if c.body > 0 {
		err = unexpected(err)
	}
	if c.sum.name != "" {
		for _, b := range p[:n] {
			c.sum.got += uint32(b)
		}
	}
	return n, err
}

// end is io.EOF, or an error if the sum is wrong.
func (s checksum) end() error {
	if s.got != s.want {
		return fmt.Errorf("cpio: %s: the checksum of its content is %#x, not %#x", s.name, s.got, s.want)
	}
	return io.EOF
}

// skip reads what is left of the current entry.
func (c *CPIOReader) skip() error {
	if c.sum.name != "" {
		if _, err := io.Copy(io.Discard, c); err != nil {
			return err
		}
	}
	if _, err := io.CopyN(io.Discard, c.r, c.body+c.padding); err != nil {
		return fmt.Errorf("cpio: skip content: %w", unexpected(err))
	}
	c.body, c.padding = 0, 0
	return nil
}

// admit checks an entry against the limits and its own type.
func (c *CPIOReader) admit(h CPIOHeader) error {
	c.left.Entries--
	c.left.Bytes -= h.Size
	if c.left.Entries < 0 || c.left.Bytes < 0 {
		return fmt.Errorf("cpio: %s: the archive is larger than allowed", h.Name)
	}
	switch h.Mode & ModeType {
	case ModeRegular:
		return nil
	case ModeSymlink:
		if h.Size == 0 || h.Size > cpioMaxName {
			return fmt.Errorf("cpio: %s: a symbolic link to %d bytes", h.Name, h.Size)
		}
		return nil
	case ModeDir, ModeChar, ModeBlock, ModeFIFO, ModeSocket:
		if h.Size != 0 {
			return fmt.Errorf("cpio: %s: %d bytes of content in something that is no file", h.Name, h.Size)
		}
		return nil
	}
	return fmt.Errorf("cpio: %s: unknown file type %#o", h.Name, h.Mode&ModeType)
}

// readName reads a name of size bytes, with its NUL, and the padding after it.
func (c *CPIOReader) readName(size uint32) (string, error) {
	if size < 2 || size > cpioMaxName+1 {
		return "", fmt.Errorf("cpio: bad name of %d bytes", size)
	}
	buf := make([]byte, int64(size)+pad4(cpioHeaderLen+int64(size)))
	if _, err := io.ReadFull(c.r, buf); err != nil {
		return "", fmt.Errorf("cpio: read name: %w", unexpected(err))
	}
	name, ok := strings.CutSuffix(string(buf[:size]), "\x00")
	if !ok {
		return "", fmt.Errorf("cpio: a name does not end")
	}
	return name, nil
}

func parseHeader(raw []byte) (fields [13]uint32, err error) {
	if m := string(raw[:len(cpioMagic)]); m != cpioMagic && m != cpioMagicSum {
		return fields, fmt.Errorf("cpio: not a newc archive: magic %q", raw[:len(cpioMagic)])
	}
	for i := range fields {
		for _, d := range raw[len(cpioMagic)+8*i:][:8] {
			v, ok := hexDigit(d)
			if !ok {
				return fields, fmt.Errorf("cpio: header field %d is not a number", i)
			}
			fields[i] = fields[i]<<4 | v
		}
	}
	return fields, nil
}

func hexDigit(d byte) (uint32, bool) {
	switch {
	case d >= '0' && d <= '9':
		return uint32(d - '0'), true
	case d >= 'a' && d <= 'f':
		return uint32(d-'a') + 10, true
	case d >= 'A' && d <= 'F':
		return uint32(d-'A') + 10, true
	}
	return 0, false
}

// unexpected turns an end of file, which only the trailer may announce, into
// an error.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
