package agent

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// volume is a file system to mount.
type volume struct {
	kind   string   // as in /proc/filesystems
	source string   // tag or label
	opts   []string // "key=value" or "flag", understood by the file system
	attrs  int      // unix.MOUNT_ATTR_*
}

// attach mounts v on the directory that fd refers to. Mounting on a descriptor
// and not on a path means that nothing can be swapped in between.
func (v volume) attach(fd int) error {
	fs, err := unix.Fsopen(v.kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open file system %s: %w", v.kind, err)
	}
	defer unix.Close(fs)
	m, err := v.create(fs)
	if err != nil {
		if log := fsLog(fs); log != "" {
			return fmt.Errorf("mount %s: %w (%s)", v.kind, err, log)
		}
		return fmt.Errorf("mount %s: %w", v.kind, err)
	}
	defer unix.Close(m)
	if err := moveMount(m, fd); err != nil {
		return fmt.Errorf("attach %s: %w", v.kind, err)
	}
	return nil
}

// moveMount puts the mount m, which is nowhere yet, on what fd refers to.
func moveMount(m, fd int) error {
	return unix.MoveMount(m, "", fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

func (v volume) create(fs int) (int, error) {
	if err := unix.FsconfigSetString(fs, "source", v.source); err != nil {
		return -1, err
	}
	for _, o := range v.opts {
		var err error
		if key, value, ok := strings.Cut(o, "="); ok {
			err = unix.FsconfigSetString(fs, key, value)
		} else {
			err = unix.FsconfigSetFlag(fs, o)
		}
		if err != nil {
			return -1, fmt.Errorf("option %s: %w", o, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, v.attrs)
}

// fsLog returns the first thing that the kernel has to say about fs.
func fsLog(fs int) string {
	var buf [256]byte
	n, err := unix.Read(fs, buf[:])
	if err != nil || n < 2 {
		return ""
	}
	return strings.TrimSpace(string(buf[2:n])) // it begins with a level, such as "e "
}

// openDir opens a directory of the tree at root for mounting on.
func openDir(root int, p string) (int, error) {
	return openIn(root, p, unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY})
}

// openTries is how often an open is tried that others are in the way of.
const openTries = 100

// openIn opens p in the tree at root. Symbolic links are followed as if root were
// "/", so they cannot lead out of it.
func openIn(root int, p string, how unix.OpenHow) (fd int, err error) {
	how.Flags |= unix.O_CLOEXEC
	how.Resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	for range openTries {
		// While something is renamed or mounted, anywhere, the kernel cannot tell
		// whether ".." stays in the tree (openat2(2)).
		if fd, err = unix.Openat2(root, p, &how); !errors.Is(err, unix.EAGAIN) {
			break
		}
	}
	return fd, err
}

// makeDir is openDir that makes what is missing.
func makeDir(root int, p string) (int, error) {
	fd, err := openDir(root, p)
	if !errors.Is(err, unix.ENOENT) || p == "/" {
		return fd, err
	}
	parent, err := makeDir(root, path.Dir(p))
	if err != nil {
		return -1, err
	}
	err = unix.Mkdirat(parent, path.Base(p), 0o755)
	_ = unix.Close(parent)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return openDir(root, p)
}

// mountError gives err the protocol's kind, and says where it happened.
func mountError(target string, err error) error {
	msg := fmt.Sprintf("mount on %s: %v", target, err)
	if errors.Is(err, unix.EROFS) {
		msg = fmt.Sprintf("mount on %s: the directory does not exist in the guest's root, which is read-only, so it cannot be made", target)
	}
	return &agentproto.Error{Kind: agentproto.KindMount, Message: msg}
}
