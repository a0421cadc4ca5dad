package cpioroot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/holtvm/holt/internal/boot"
)

const (
	// newRoot is where the kernel unpacks the root; the initramfs has it.
	newRoot = "newroot"
	// maxPadding is how many zeros may follow archives, in bytes. cpio fills up
	// blocks.
	maxPadding = 16 * mib
)

// rewriter copies archives and moves every name below newRoot.
type rewriter struct {
	in     *source
	w      io.Writer
	memory uint64 // the guest's
	used   usage
	names  *names
	out    *boot.CPIOWriter
}

// run copies all archives of the source.
func (r *rewriter) run() error {
	in, err := begin(r.in)
	if err != nil {
		return err
	}
	for padding := int64(maxPadding); ; {
		if err := r.archive(in); err != nil {
			return err
		}
		n, err := skipZeros(in, padding)
		if padding -= n; padding < 0 {
			return fmt.Errorf("more than %d MiB of zeros follow its archives: make it again", maxPadding/mib)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if head, _ := in.Peek(len("070701")); !isCPIO(head) {
			return fmt.Errorf("% x follow its archive, which is no cpio archive: make it again", head)
		}
	}
}

// archive copies one archive up to its end.
func (r *rewriter) archive(in *bufio.Reader) error {
	src := boot.NewCPIOReader(in, boot.CPIOLimits{Entries: math.MaxInt, Bytes: math.MaxInt64}) // usage has the limits
	r.out = boot.NewCPIOWriter(r.w)
	for {
		h, err := src.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = r.entry(h, src)
		}
		switch {
		case err == nil:
		case r.in.damage() != nil:
			return r.in.damage()
		case errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New(`the archive in it ends early, without "TRAILER!!!": copy or make it again`)
		default:
			return err
		}
	}
	r.names.endArchive()
	r.used.archive += boot.CPIOTrailerSize
	return r.out.Close()
}

// entry copies an entry after the directories that it lacks.
func (r *rewriter) entry(h boot.CPIOHeader, content io.Reader) error {
	missing, err := r.names.add(h)
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(missing) {
		if err := r.put(boot.CPIOHeader{Name: dir, Mode: boot.ModeDir | 0o755}, nil); err != nil {
			return err
		}
	}
	// The kernel knows no hard links of directories and symbolic links.
	if kind := h.Mode & boot.ModeType; kind == boot.ModeDir || kind == boot.ModeSymlink {
		h.Links = 1
	}
	if h.Links > 1 {
		inode, fresh := r.names.link(h)
		if fresh {
			r.used.links++
		}
		h.Inode = inode
	}
	return r.put(h, content)
}

func (r *rewriter) put(h boot.CPIOHeader, content io.Reader) error {
	if h.Name == "." {
		h.Name = newRoot
	} else {
		h.Name = newRoot + "/" + h.Name
	}
	r.used.add(h)
	if err := r.used.check(r.memory); err != nil {
		return err
	}
	return r.out.Write(h, content)
}
