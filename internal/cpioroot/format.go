package cpioroot

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// headSize is how much of the start a format is recognised by: an ext
// superblock's magic is the farthest.
const headSize = 1082

// howTo tells how a root filesystem is made.
const howTo = `make one in the root's directory with "find . | cpio -o -H newc | gzip"`

// formats are what people take for a root filesystem, by their magic.
var formats = []struct {
	offset int
	magic  string
	name   string
	advice string
}{
	{0, gzipMagic, "compressed with gzip once more", `unpack it once with "gzip -dc FILE"`},
	{0, "\x28\xb5\x2f\xfd", "compressed with zstd", `only gzip is taken: repack it with "zstd -dc FILE | gzip"`},
	{0, "\xfd7zXZ\x00", "compressed with xz", `only gzip is taken: repack it with "xz -dc FILE | gzip"`},
	{0, "BZh", "compressed with bzip2", `only gzip is taken: repack it with "bzip2 -dc FILE | gzip"`},
	{0, "\x04\x22\x4d\x18", "compressed with lz4", `only gzip is taken: repack it with "lz4 -dc FILE | gzip"`},
	{0, "\x02\x21\x4c\x18", "compressed with lz4", `only gzip is taken: repack it with "lz4 -dc FILE | gzip"`},
	{0, "\x5d\x00\x00", "compressed with lzma", `only gzip is taken: repack it with "lzma -dc FILE | gzip"`},
	{0, "070701", "a cpio archive that is not compressed", `compress it with "gzip FILE"`},
	{0, "070702", "a cpio archive that is not compressed", `compress it with "gzip FILE"`},
	{0, "070707", "an old cpio archive", "make it with cpio -o -H newc"},
	{0, "\xc7\x71", "an old binary cpio archive", "make it with cpio -o -H newc"},
	{0, "\x71\xc7", "an old binary cpio archive", "make it with cpio -o -H newc"},
	{257, "ustar", "a tar archive", howTo},
	{0, "PK\x03\x04", "a zip archive", howTo},
	{0, "hsqs", "a squashfs image", howTo},
	{0, "QFI\xfb", "a qcow2 image", howTo},
	{0, "\x7fELF", "a program or a kernel", howTo},
	{1080, "\x53\xef", "an ext2, ext3 or ext4 image", "use it as root_disk (--root-disk) instead"},
}

// recognise says what begins with head, and what to do about it.
func recognise(head []byte) string {
	for _, f := range formats {
		if len(head) >= f.offset && bytes.HasPrefix(head[f.offset:], []byte(f.magic)) {
			return fmt.Sprintf("%s: %s", f.name, f.advice)
		}
	}
	if len(head) == 0 {
		return "empty: " + howTo
	}
	return fmt.Sprintf("unknown, and starts with % x: %s", head[:min(len(head), 6)], howTo)
}

// Check tells by its first bytes whether the file at path may be a root
// filesystem: a regular file that can be read, with gzip data that begins as a
// cpio archive does. Its error is what is wrong as "must …", without the path.
// What else Prepare could find fault with is not looked at.
func Check(path string) error {
	file, err := open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = begin(newSource(context.Background(), file))
	return err
}

// open opens a regular file. Of the others, a FIFO would wait for a writer.
func open(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("must be a readable file: %w", cause(err))
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("must be a regular file")
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// cause strips the operation and the path from a file error.
func cause(err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return err
}

// begin looks at the first bytes of a file and of what is in it.
func begin(s *source) (*bufio.Reader, error) {
	const must = "must be a gzip-compressed cpio archive"
	head, err := s.file.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !bytes.HasPrefix(head, []byte(gzipMagic)) {
		return nil, fmt.Errorf("%s: it is %s", must, recognise(head))
	}
	content := bufio.NewReaderSize(s, 256<<10)
	head, err = content.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", must, err)
	}
	if !isCPIO(head) {
		return nil, fmt.Errorf("%s: what gzip holds is %s", must, recognise(head))
	}
	return content, nil
}

// isCPIO tells whether a newc archive begins with head.
func isCPIO(head []byte) bool {
	return bytes.HasPrefix(head, []byte("070701")) || bytes.HasPrefix(head, []byte("070702"))
}
