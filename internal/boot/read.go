package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// readInto puts the size bytes at off in file to guest address addr, without a
// copy on the way. A second thread would gain nothing where guest memory has
// huge pages: one copies at the speed of memory.
func readInto(mem Memory, addr uint64, file *os.File, off, size int64) error {
	dst, err := mem.Slice(addr, uint64(size))
	if err != nil {
		return fmt.Errorf("place %s: %w", file.Name(), err)
	}
	_, err = file.ReadAt(dst, off)
	if errors.Is(err, io.EOF) { // it was this long when it was opened
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", file.Name(), err)
	}
	return nil
}
