package agent

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

const newRoot = "/newroot"

// makeRoot mounts everything below newRoot, writes the network's files, frees the
// initramfs and makes newRoot the root of this process.
func (a *agent) makeRoot(spec agentproto.BootSpec) error {
	// A directory is mounted after the one that holds it. "/" comes first.
	mounts := slices.Clone(spec.Mounts)
	slices.SortFunc(mounts, func(x, y agentproto.Mount) int { return strings.Compare(x.Target, y.Target) })

	if mounts[0].Overlay {
		if err := loadModules("/", a.modules, groupOverlay); err != nil {
			return err
		}
	}
	if err := a.mountRoot(mounts[0]); err != nil {
		return mountError("/", err)
	}
	root, err := unix.Open(newRoot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open new root: %w", err)
	}
	defer unix.Close(root)
	if err := mountSystem(root, mounts[1:]); err != nil {
		return err
	}
	for _, m := range mounts[1:] {
		if err := mountShared(root, m); err != nil {
			return mountError(m.Target, err)
		}
	}
	if a.shelf, err = openShelf("/"); err != nil {
		return err
	}
	if a.network != nil {
		a.writeEtc(root)
	}
	if mounts[0].Kind == agentproto.MountMemory && mounts[0].ReadOnly {
		if err := unix.Mount("", newRoot, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return mountError("/", err)
		}
	}
	freeInitramfs()
	return enterRoot()
}

// mountRoot mounts the root on newRoot: itself or, with an overlay, a file system
// that keeps what differs from it in memory.
func (a *agent) mountRoot(m agentproto.Mount) error {
	if !m.Overlay {
		return a.mountBase(newRoot, m)
	}
	lower := m
	lower.ReadOnly = true
	if err := a.mountBase("/lower", lower); err != nil {
		return err
	}
	if err := mountAt("/changes", volume{kind: "tmpfs", source: "changes", opts: []string{"mode=0755"}}); err != nil {
		return err
	}
	for _, dir := range []string{"/changes/upper", "/changes/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	opts := []string{"lowerdir=/lower", "upperdir=/changes/upper", "workdir=/changes/work"}
	if m.ReadOnly {
		opts = append(opts, "ro")
	}
	return mountAt(newRoot, volume{kind: "overlay", source: "root", opts: opts})
}

// mountBase mounts what m is, without an overlay, on dir.
func (a *agent) mountBase(dir string, m agentproto.Mount) error {
	switch m.Kind {
	case agentproto.MountDisk:
		return a.mountDisk(dir, m.Tag, m.ReadOnly)
	case agentproto.MountMemory:
		// The kernel has unpacked it there. A mount it must be, since only mounts
		// can be moved, and made read-only.
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("make the root in memory a mount: %w", err)
		}
		return nil
	}
	return mountAt(dir, shared(m))
}

func shared(m agentproto.Mount) volume {
	v := volume{kind: "virtiofs", source: m.Tag}
	if m.ReadOnly {
		v.opts = []string{"ro"}
	}
	return v
}

// mountAt mounts v on a directory of the initramfs, made if need be.
func mountAt(dir string, v volume) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	return v.attach(fd)
}

// withMount calls f while v is mounted on dir.
func withMount(dir string, v volume, f func() error) error {
	if err := mountAt(dir, v); err != nil {
		return err
	}
	err := f()
	if uerr := unix.Unmount(dir, 0); uerr != nil && err == nil {
		err = fmt.Errorf("unmount %s: %w", dir, uerr)
	}
	return err
}

func mountShared(root int, m agentproto.Mount) error {
	fd, err := makeDir(root, m.Target)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return shared(m).attach(fd)
}

// freeInitramfs removes the files that are needed no more, since they occupy
// guest memory. This executable goes too: it lives on while it runs.
func freeInitramfs() {
	for _, p := range []string{"/modules", "/modules.json", "/init"} {
		if err := os.RemoveAll(p); err != nil {
			complain("free initramfs: %v", err)
		}
	}
}

// enterRoot puts the new root in the place of the initramfs, which cannot be
// unmounted or pivoted away from.
func enterRoot() error {
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move new root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	return nil
}
