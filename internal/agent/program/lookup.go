package program

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// lookPath returns the path to execute for name: itself if it has a slash,
// made absolute by cwd, else the first executable file of that name in search.
// As in a shell, a file there that cannot be executed is passed over, and
// reported only if nothing better is found.
func lookPath(name, cwd, search string) (string, *agentproto.Error) {
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join(cwd, name)
		}
		return name, checkExecutable(name)
	}
	var worst *agentproto.Error
	for dir := range strings.SplitSeq(search, ":") {
		if !path.IsAbs(dir) {
			dir = path.Join(cwd, dir) // an empty element is the working directory
		}
		p := path.Join(dir, name)
		e := checkExecutable(p)
		if e == nil {
			return p, nil
		}
		if e.Kind == agentproto.KindNotExecutable && worst == nil {
			worst = e
		}
	}
	if worst != nil {
		return "", worst
	}
	return "", notFound("%s: not found in the guest's PATH (%s)", name, search)
}

func checkExecutable(p string) *agentproto.Error {
	fi, err := os.Stat(p)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return notFound("%s does not exist in the guest", p)
	case err != nil:
		return notExecutable("%s: %v", p, errors.Unwrap(err))
	case fi.IsDir():
		return notExecutable("%s is a directory", p)
	case !fi.Mode().IsRegular():
		return notExecutable("%s is not a regular file", p)
	case fi.Mode().Perm()&0o111 == 0:
		return notExecutable("%s is not executable (its mode is %v)", p, fi.Mode().Perm())
	}
	return nil
}

// startError explains why executing p, which checkExecutable let pass, failed.
func startError(p, cwd string, err error) *agentproto.Error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return internal(err)
	}
	switch errno {
	case unix.ENOENT, unix.ENOTDIR:
		if script := interpreter(p); script != "" {
			return notFound("%s: its interpreter %s does not exist in the guest", p, script)
		}
		return notFound("%s: the loader that it is linked against does not exist in the guest", p)
	case unix.ENOEXEC:
		return notExecutable("%s is neither a program for this machine nor a script that begins with #!", p)
	case unix.EACCES, unix.EPERM:
		return notExecutable("%s or its working directory %s: %v", p, cwd, errno)
	case unix.E2BIG, unix.ELOOP, unix.ETXTBSY, unix.ELIBBAD:
		return notExecutable("%s: %v", p, errno)
	default:
		return internal(&os.PathError{Op: "start", Path: p, Err: errno})
	}
}

// interpreter returns what a script names after "#!", or "".
func interpreter(p string) string {
	f, err := openRegular(p)
	if err != nil {
		return ""
	}
	defer f.Close()
	var buf [256]byte // as much as the kernel looks at (BINPRM_BUF_SIZE)
	n, err := io.ReadFull(f, buf[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return ""
	}
	line, ok := bytes.CutPrefix(buf[:n], []byte("#!"))
	if !ok {
		return ""
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	if fields := bytes.Fields(line); len(fields) > 0 {
		return string(fields[0])
	}
	return ""
}
