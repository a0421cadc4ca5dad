package aptpkg

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/holtvm/holt/internal/decompress"
)

// maxUnpacked is the most that one package may hold, in bytes, whether it is
// picked or not: a few bytes can unpack to years of zeros.
const maxUnpacked = 2 << 30

// Unpack writes regular files of a package into the directory dest. For the
// path of each (relative, as in "boot/vmlinuz"), pick says where below dest
// it goes, or false to leave it out. Links and devices are never made.
func (p Package) Unpack(ctx context.Context, dest string, pick func(name string) (string, bool)) error {
	f, err := os.Open(p.Path)
	if err != nil {
		return fmt.Errorf("unpack package: %w", err)
	}
	defer f.Close()
	root, err := os.OpenRoot(dest)
	if err != nil {
		return fmt.Errorf("unpack package: %w", err)
	}
	defer root.Close()
	if err := unpackDeb(ctx, bufio.NewReaderSize(f, 256<<10), root, pick); err != nil {
		return fmt.Errorf("unpack package %s: %w", filepath.Base(p.Path), err)
	}
	return nil
}

// unpackDeb reads the format of deb(5): an ar archive, in which data.tar has
// the files.
func unpackDeb(ctx context.Context, r io.Reader, root *os.Root, pick func(string) (string, bool)) error {
	archive, err := newARReader(r)
	if err != nil {
		return err
	}
	for {
		name, member, err := archive.next()
		if errors.Is(err, io.EOF) {
			return errors.New("no data.tar in it")
		}
		if err != nil {
			return err
		}
		if name == "data.tar" {
			return unpackTar(ctx, member, root, pick)
		}
		if strings.HasPrefix(name, "data.tar.") {
			_, data, err := decompress.NewReader(member)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			defer data.Close()
			return unpackTar(ctx, data, root, pick)
		}
	}
}

func unpackTar(ctx context.Context, r io.Reader, root *os.Root, pick func(string) (string, bool)) error {
	left := int64(maxUnpacked)
	for archive := tar.NewReader(r); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if left -= h.Size; left < 0 {
			return fmt.Errorf("more than %d bytes", int64(maxUnpacked))
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		to, ok := pick(strings.TrimPrefix(path.Clean("/"+h.Name), "/"))
		if !ok {
			continue
		}
		if err := writeFile(root, to, h, archive); err != nil {
			return err
		}
	}
}

func writeFile(root *os.Root, name string, h *tar.Header, content io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	// Some kernels are readable by root alone; here they are only data.
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644|os.FileMode(h.Mode)&0o111)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}
