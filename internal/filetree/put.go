package filetree

import (
	"errors"
	"io"

	"github.com/holtvm/holt/internal/agentproto"
	"golang.org/x/sys/unix"
)

// copyBuffer is how much of a file is read at a time, in bytes.
const copyBuffer = 128 << 10

var (
	errNoTop   = errors.New("the tree's top is no directory, or does not exist")
	errDevice  = errors.New("it is a device, and none are made here")
	errChanged = errors.New("it was replaced meanwhile")
)

// putDir makes a directory, which only its owner can enter until it is finished.
func (w *Writer) putDir(dir int, name string, e agentproto.Entry) error {
	path := string(e.Path)
	if path == "." {
		path = ""
	}
	_, ours := w.made[path]
	if path != "" || w.top < 0 {
		err := unix.Mkdirat(dir, name, 0o700)
		if err != nil && err != unix.EEXIST {
			return err
		}
		ours = ours || err == nil
		fd, err := openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		if path == "" {
			w.top = fd
		} else {
			w.enter(path, fd)
		}
	}
	if !ours {
		return nil
	}
	return w.remember(path, w.attributes(e))
}

// putFile writes a regular file.
func (w *Writer) putFile(dir int, name string, e agentproto.Entry, data io.Reader) error {
	f := &file{fd: -1, top: w.path, path: string(e.Path)}
	err := replace(dir, name, func() (err error) {
		f.fd, err = openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return failed("write", w.path, f.path, err)
	}
	if data != nil {
		if w.buf == nil {
			w.buf = make([]byte, copyBuffer)
		}
		_, err = io.CopyBuffer(f, data, w.buf) // names the file that is to blame itself
	}
	if err == nil {
		if err = w.attributes(e).apply(f.fd); err != nil {
			err = failed("write", w.path, f.path, err)
		}
	}
	if closing := unix.Close(f.fd); err == nil && closing != nil {
		err = failed("write", w.path, f.path, closing)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, name, 0)
	}
	return err
}

// putLink gives a file of the tree another name, and changes nothing else of it.
func (w *Writer) putLink(dir int, name, target string) error {
	targetDir, targetName := split(target)
	from := dir
	if targetDir != w.dir {
		fd, err := openDir(w.top, targetDir, unix.O_PATH)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		from = fd
	}
	return replace(dir, name, func() error { return unix.Linkat(from, targetName, dir, name, 0) })
}

// putNode makes a symbolic link, a FIFO or a device.
func (w *Writer) putNode(dir int, name string, e agentproto.Entry) error {
	kind := e.Mode & unix.S_IFMT
	if (kind == unix.S_IFCHR || kind == unix.S_IFBLK) && !w.o.Devices {
		return errDevice
	}
	err := replace(dir, name, func() error {
		if kind == unix.S_IFLNK {
			return unix.Symlinkat(string(e.Target), dir, name)
		}
		return unix.Mknodat(dir, name, kind|0o600, int(e.Rdev))
	})
	if err != nil {
		return err
	}
	if err = w.attributes(e).applyTo(dir, name, kind); err != nil {
		_ = unix.Unlinkat(dir, name, 0)
	}
	return err
}

// replace creates a name, and removes first what has it already, other than a directory.
func replace(dir int, name string, create func() error) error {
	err := create()
	if err == unix.EEXIST {
		if err = unix.Unlinkat(dir, name, 0); err == nil || err == unix.ENOENT {
			err = create()
		}
	}
	return err
}
