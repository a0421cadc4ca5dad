package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// share is where the directory with the tag "bench" is mounted.
	share   = "/share"
	bigFile = share + "/big"
	tree    = share + "/tree"
)

// shareWork is work in a shared directory.
type shareWork struct {
	mib     int // of the big file
	reads   int // random ones
	files   int // in the archive
	archive bytes.Buffer
}

func newShareWork() ([]step, error) {
	w := &shareWork{}
	if err := settings(map[string]*int{"MIB": &w.mib, "OPS": &w.reads, "FILES": &w.files}); err != nil {
		return nil, err
	}
	return []step{
		{"write", nil, w.write},
		{"read", dropCaches, w.read},
		{"random-read", dropCaches, w.randomRead},
		{"unpack", w.makeArchive, w.unpack},
		{"tree-read", dropCaches, w.readTree},
	}, mount("bench", "virtiofs", share)
}

// write writes the big file from its start to its end and to the disk. It
// returns MB.
func (w *shareWork) write() (float64, error) {
	f, err := os.Create(bigFile)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := bytes.Repeat([]byte("0123456789abcde\n"), mib/16)
	for range w.mib {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
	}
	return w.megabytes(), f.Sync()
}

// read reads the big file from its start to its end. It returns MB.
func (w *shareWork) read() (float64, error) {
	f, err := os.Open(bigFile)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, mib)
	for range w.mib {
		if _, err := io.ReadFull(f, block); err != nil {
			return 0, err
		}
	}
	return w.megabytes(), nil
}

func (w *shareWork) megabytes() float64 { return float64(w.mib) * mib / 1e6 }

// randomRead reads single blocks, each a request of its own because the guest's
// page cache is passed by. It returns their number.
func (w *shareWork) randomRead() (float64, error) {
	fd, err := unix.Open(bigFile, unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	block, err := aligned(blockSize)
	if err != nil {
		return 0, err
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same reads in every run
	for range w.reads {
		off := random.Int64N(int64(w.mib)*mib/blockSize) * blockSize
		n, err := unix.Pread(fd, block, off)
		if err != nil {
			return 0, err
		}
		if n != blockSize {
			return 0, fmt.Errorf("%d bytes at %d", n, off)
		}
	}
	return float64(w.reads), nil
}

// makeArchive makes a tar archive of small files in guest memory, a hundred to a
// directory, and removes the big file, whose pages would be in the way.
func (w *shareWork) makeArchive() error {
	if err := os.Remove(bigFile); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(3, 4))
	content := bytes.Repeat([]byte("a line of some text\n"), 16<<10/20+1)
	archive := tar.NewWriter(&w.archive)
	modified := time.Unix(1_600_000_000, 0)
	for i := range w.files {
		if i%100 == 0 {
			dir := tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprintf("dir%d/", i/100), Mode: 0o755, ModTime: modified}
			if err := archive.WriteHeader(&dir); err != nil {
				return err
			}
		}
		size := 1<<10 + random.IntN(15<<10)
		file := tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("dir%d/file%d", i/100, i), Mode: 0o640, ModTime: modified, Size: int64(size)}
		if err := archive.WriteHeader(&file); err != nil {
			return err
		}
		if _, err := archive.Write(content[:size]); err != nil {
			return err
		}
	}
	return archive.Close()
}

// unpack unpacks the archive as tar(1) does. It returns the number of files.
func (w *shareWork) unpack() (float64, error) {
	files := 0
	buf := make([]byte, 64<<10)
	for archive := tar.NewReader(&w.archive); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return float64(files), nil
		}
		if err != nil {
			return 0, err
		}
		path := filepath.Join(tree, h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return 0, err
			}
			continue
		}
		if err := unpackFile(path, h, archive, buf); err != nil {
			return 0, err
		}
		files++
	}
}

func unpackFile(path string, h *tar.Header, content io.Reader, buf []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, os.FileMode(h.Mode))
	if err != nil {
		return err
	}
	defer f.Close()
	// Not CopyBuffer, for which a file has better ideas.
	for {
		n, err := content.Read(buf)
		if _, werr := f.Write(buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := f.Chown(h.Uid, h.Gid); err != nil {
		return err
	}
	if err := f.Chmod(os.FileMode(h.Mode)); err != nil {
		return err
	}
	return os.Chtimes(path, h.ModTime, h.ModTime)
}

func dropCaches() error {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// readTree walks what was unpacked and reads every file. It returns their
// number.
func (w *shareWork) readTree() (float64, error) {
	files := 0
	buf := make([]byte, 64<<10)
	err := filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		return readFile(path, buf)
	})
	if err == nil && files != w.files {
		err = fmt.Errorf("%d files of %d", files, w.files)
	}
	return float64(files), err
}

func readFile(path string, buf []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Stat(); err != nil {
		return err
	}
	for {
		if _, err := f.Read(buf); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
