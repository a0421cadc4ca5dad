package agent

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

const (
	attrPlain = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	attrData  = attrPlain | unix.MOUNT_ATTR_NOEXEC
)

// sysMount is a file system that every guest has.
type sysMount struct {
	target string
	volume volume
	// optional: done without if the kernel lacks it.
	optional bool
	// spare: done without if a read-only root lacks the directory.
	spare bool
}

func sysMounts() []sysMount {
	return []sysMount{
		{target: "/proc", volume: volume{"proc", "proc", nil, attrData}},
		{target: "/sys", volume: volume{"sysfs", "sysfs", nil, attrData}},
		{target: "/sys/fs/cgroup", volume: volume{"cgroup2", "cgroup2", nil, attrData}, optional: true},
		{target: "/dev", volume: volume{"devtmpfs", "devtmpfs", []string{"mode=0755"}, unix.MOUNT_ATTR_NOSUID}},
		// Group 5 is tty wherever it has a fixed number.
		{target: "/dev/pts", volume: volume{"devpts", "devpts", []string{"mode=0620", "gid=5", "ptmxmode=0666"}, unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC}},
		{target: "/dev/shm", volume: volume{"tmpfs", "shm", []string{"mode=1777"}, attrPlain}},
		{target: "/dev/mqueue", volume: volume{"mqueue", "mqueue", nil, attrData}, optional: true},
		{target: "/run", volume: volume{"tmpfs", "run", []string{"mode=0755"}, attrPlain}, spare: true},
		{target: "/tmp", volume: volume{"tmpfs", "tmp", []string{"mode=1777"}, attrPlain}, spare: true},
	}
}

// devLinks are the links in /dev that programs rely on and the kernel does not
// make.
var devLinks = [][2]string{
	{"/proc/self/fd", "fd"},
	{"/proc/self/fd/0", "stdin"},
	{"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"},
}

// mountSystem mounts sysMounts below root, but for those in the place of which
// a directory is shared.
func mountSystem(root int, shared []agentproto.Mount) error {
	for _, m := range sysMounts() {
		taken := slices.ContainsFunc(shared, func(s agentproto.Mount) bool { return s.Target == m.target })
		if taken {
			continue
		}
		if err := m.mount(root); err != nil {
			return mountError(m.target, err)
		}
	}
	dev, err := openDir(root, "/dev")
	if err != nil {
		return mountError("/dev", err)
	}
	defer unix.Close(dev)
	for _, l := range devLinks {
		if err := unix.Symlinkat(l[0], dev, l[1]); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("link /dev/%s: %w", l[1], err)
		}
	}
	return nil
}

func (m sysMount) mount(root int) error {
	fd, err := makeDir(root, m.target)
	switch {
	case m.spare && errors.Is(err, unix.EROFS):
		return nil
	case m.optional && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM)):
		return nil // sysfs has the directory only if the kernel has the file system
	case err != nil:
		return err
	}
	defer unix.Close(fd)
	if err := m.volume.attach(fd); err != nil && !(m.optional && errors.Is(err, unix.ENODEV)) {
		return err
	}
	return nil
}
