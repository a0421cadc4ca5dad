package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a virtio-blk device.
type disk struct {
	name   string // of its node in /dev
	dev    uint64 // its device number
	serial string
}

// listDisks are the disks that have a serial, by the sysfs at sys.
func listDisks(sys string) []disk {
	files, err := filepath.Glob(filepath.Join(sys, "block/vd*/serial"))
	if err != nil {
		return nil // it is a bad pattern that this says
	}
	var disks []disk
	for _, file := range files {
		dir := filepath.Dir(file)
		serial, err := os.ReadFile(file)
		if err != nil || len(serial) == 0 {
			continue
		}
		number, err := os.ReadFile(filepath.Join(dir, "dev"))
		if err != nil {
			continue // it is going away
		}
		major, minor, _ := strings.Cut(strings.TrimSpace(string(number)), ":")
		ma, err1 := strconv.ParseUint(major, 10, 32)
		mi, err2 := strconv.ParseUint(minor, 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		disks = append(disks, disk{filepath.Base(dir), unix.Mkdev(uint32(ma), uint32(mi)), strings.TrimSpace(string(serial))})
	}
	return disks
}

// awaitDisk finds the disk with a serial, and waits for it: its driver may have been
// loaded just now.
func awaitDisk(sys, serial string, most time.Duration) (disk, error) {
	for end := time.Now().Add(most); ; time.Sleep(time.Millisecond) {
		disks := listDisks(sys)
		var others []string
		for _, d := range disks {
			if d.serial == serial {
				return d, nil
			}
			others = append(others, strconv.Quote(d.serial))
		}
		if time.Now().After(end) {
			return disk{}, fmt.Errorf("this guest has no disk with the serial %q (there are: %s): "+
				"the machine lacks a virtio-blk device, or the kernel its driver (virtio_blk)", serial, strings.Join(others, ", "))
		}
	}
}

// mountDisk mounts the file system of the disk with a serial on dir.
func (a *agent) mountDisk(dir, serial string, readOnly bool) error {
	var d disk
	err := withMount("/sys", volume{"sysfs", "sysfs", nil, attrData}, func() (err error) {
		d, err = awaitDisk("/sys", serial, deviceTimeout)
		return err
	})
	if err != nil {
		return err
	}
	// The node has the name that it will have in devtmpfs: it is shown as the source.
	node := "/dev/" + d.name
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(d.dev)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make %s: %w", node, err)
	}
	return withMount("/proc", volume{"proc", "proc", nil, attrData}, func() error {
		if err := a.mountAnyType(dir, node, readOnly); err != nil {
			return fmt.Errorf("disk %q: %w", serial, err)
		}
		return nil
	})
}

// mountAnyType mounts node on dir with the first type of file system that takes it:
// those that the kernel knows, and then those that the initramfs has modules for.
// Each type looks at the disk itself, so there is no guessing here.
func (a *agent) mountAnyType(dir, node string, readOnly bool) error {
	var tried []string
	var errs []error // what a type says about a disk that seems to be its own
	try := func() (bool, error) {
		b, err := os.ReadFile("/proc/filesystems")
		if err != nil {
			return false, err
		}
		for _, kind := range newTypes(b, tried) {
			tried = append(tried, kind)
			err := mountType(dir, kind, node, readOnly)
			if err == nil {
				return true, nil
			}
			if !errors.Is(err, unix.EINVAL) { // not its superblock
				errs = append(errs, err)
			}
		}
		return false, nil
	}
	done, err := try()
	for i := 0; i < len(a.modules) && !done && err == nil; i++ {
		m := a.modules[i]
		if m.Group != groupFilesystems {
			continue
		}
		if lerr := loadModule(m.path("/")); lerr != nil {
			errs = append(errs, moduleError(m, lerr))
			continue
		}
		done, err = try()
	}
	switch {
	case done || err != nil:
		return err
	case len(errs) > 0:
		return errors.Join(errs...)
	}
	return fmt.Errorf("it has no file system that this kernel knows: %s", strings.Join(tried, ", "))
}

// newTypes are the types of file system for block devices in filesystems, the content
// of /proc/filesystems, but for those that were tried. Ext4 comes first: it is the
// likeliest, and mounts what ext2 and ext3 do, which would but complain after it.
func newTypes(filesystems []byte, tried []string) []string {
	var types []string
	for line := range strings.Lines(string(filesystems)) {
		kind, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "\t")
		if ok && kind != "fuseblk" && !slices.Contains(tried, kind) {
			types = append(types, kind)
		}
	}
	if i := slices.Index(types, "ext4"); i >= 0 {
		types = slices.Insert(slices.Delete(types, i, i+1), 0, "ext4")
	}
	if slices.Contains(types, "ext4") || slices.Contains(tried, "ext4") {
		types = slices.DeleteFunc(types, func(k string) bool { return k == "ext2" || k == "ext3" })
	}
	return types
}

// mountType mounts node as one type. A disk or a type that cannot be written is
// mounted read-only.
func mountType(dir, kind, node string, readOnly bool) error {
	v := volume{kind: kind, source: node}
	var err error
	if !readOnly {
		err = mountAt(dir, v)
	}
	if readOnly || errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
		v.opts = []string{"ro"}
		err = mountAt(dir, v)
	}
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("mount %s: its journal has to be replayed, which a read-only disk does not allow: mount it writable once", kind)
	}
	return err
}

// linkDisks makes the names in dev by which disks are found, as udev does.
func linkDisks(sys, dev string) error {
	disks := listDisks(sys)
	if len(disks) == 0 {
		return nil
	}
	dir := filepath.Join(dev, "disk/by-id")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, d := range disks {
		name := "virtio-" + strings.Map(serialRune, d.serial)
		if err := os.Symlink("../../"+d.name, filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// serialRune is r, or an underscore in the place of what file names should not have.
func serialRune(r rune) rune {
	if r|0x20 >= 'a' && r|0x20 <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
		return r
	}
	return '_'
}
