package agent

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// writeEtc puts what the network needs into the /etc of the tree at root. A guest
// that cannot have it is told on the console, and runs: its root may be anything.
func (a *agent) writeEtc(root int) {
	e := etc{root: root, shelf: &a.shelf, inMemory: inMemory}
	for _, f := range []struct{ path, text string }{
		{"/etc/resolv.conf", resolvConf(*a.network)},
		{"/etc/hosts", hostsFile(*a.network, a.hostname)},
	} {
		if err := e.put(f.path, f.text); err != nil {
			complain("write %s: %v", f.path, err)
		}
	}
}

// etc puts files into the tree at root. Names are found as if that were "/".
type etc struct {
	root  int
	shelf *shelf // for what is mounted over files
	// inMemory says whether what fd refers to is lost with the guest, so that it
	// may be changed.
	inMemory func(fd int) (bool, error)
}

// put makes text the content of the file name. Where that is in guest memory, the
// file is written. Elsewhere it belongs to the host or to a disk, so a file in guest
// memory is mounted over it. There is nothing to do where it neither exists nor can
// be made.
func (e *etc) put(name, text string) error {
	fd, err := e.target(name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EROFS) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return e.set(fd, name, text)
}

// replace is put for a file that exists. Nothing is made where there is none, nor where
// flags say not to follow a symbolic link that is there.
func (e *etc) replace(name string, flags uint64, text string) error {
	fd, err := e.open(name, unix.O_PATH|flags)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil
	}
	return e.set(fd, name, text)
}

// set makes text the content of the file name, to which fd refers.
func (e *etc) set(fd int, name, text string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("it is not a regular file in the guest's root")
	}
	mine, err := e.inMemory(fd)
	if err != nil {
		return err
	}
	if mine {
		err := e.write(name, text)
		if !errors.Is(err, unix.EROFS) {
			return err
		}
	}
	return e.mountOver(fd, name, text)
}

// target opens the file name, with O_PATH, and makes an empty one if there is none.
func (e *etc) target(name string) (int, error) {
	fd, err := e.open(name, unix.O_PATH)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	made, err := e.open(name, unix.O_WRONLY|unix.O_CREAT)
	if errors.Is(err, unix.ENOENT) { // not even a directory
		if err := e.makeParent(name); err != nil {
			return -1, err
		}
		made, err = e.open(name, unix.O_WRONLY|unix.O_CREAT)
	}
	if err != nil {
		return -1, err
	}
	_ = unix.Close(made)
	return e.open(name, unix.O_PATH)
}

func (e *etc) open(name string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags}
	if flags&unix.O_CREAT != 0 {
		how.Mode = 0o644
	}
	return openIn(e.root, name, how)
}

// makeParent makes the directory of the file name or, if that is a symbolic link,
// such as systemd's into /run, the directory that the link leads to. It does so in
// guest memory only.
func (e *etc) makeParent(name string) error {
	fd, err := e.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	switch {
	case err == nil:
		buf := make([]byte, agentproto.MaxPath)
		n, err := unix.Readlinkat(fd, "", buf)
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
		if link := string(buf[:n]); path.IsAbs(link) {
			name = link
		} else {
			name = path.Join(path.Dir(name), link)
		}
	case !errors.Is(err, unix.ENOENT):
		return err
	}
	dir := path.Dir(name)
	for p := dir; ; p = path.Dir(p) {
		fd, err := openDir(e.root, p)
		if errors.Is(err, unix.ENOENT) && p != "/" {
			continue
		}
		if err != nil {
			return err
		}
		mine, err := e.inMemory(fd)
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
		if !mine {
			return unix.ENOENT
		}
		break
	}
	if fd, err = makeDir(e.root, dir); err != nil {
		return err
	}
	return unix.Close(fd)
}

// write changes the file in such an order that no reader finds it empty.
func (e *etc) write(name, text string) error {
	fd, err := e.open(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.WriteString(text); err == nil {
		err = f.Truncate(int64(len(text)))
	}
	return errors.Join(err, f.Close())
}

// mountOver mounts a new file over the one that fd refers to.
func (e *etc) mountOver(fd int, name, text string) error {
	m, err := e.shelf.put(path.Base(name), text)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	if err := moveMount(m, fd); err != nil {
		return fmt.Errorf("mount over it: %w", err)
	}
	return nil
}

// inMemory says whether fd is on a file system that is lost with the guest: there is
// no overlay in it yet but its own, which keeps changes in memory.
func inMemory(fd int) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return false, err
	}
	switch fs.Type {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC:
		return true, nil
	}
	return false, nil
}
