package agent

import (
	"os"

	"golang.org/x/sys/unix"
)

// openConsole makes the console this process's standard descriptors. The kernel
// does that before it starts us, but only if it has the console by then, and not
// when its driver is one of our modules; Go then opens /dev/null for them.
func openConsole() {
	if os.Getpid() != 1 || !isNull(unix.Stderr) {
		return
	}
	// The kernel's console; or the serial port, while the console has no driver.
	for _, dev := range []uint64{unix.Mkdev(5, 1), unix.Mkdev(4, 64)} {
		fd, err := openDevice("/dev/.holt-console", dev)
		if err != nil {
			continue
		}
		for std := range 3 {
			_ = unix.Dup3(fd, std, 0)
		}
		_ = unix.Close(fd)
		return
	}
}

// isNull reports whether fd is /dev/null.
func isNull(fd int) bool {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// openDevice opens a character device without a name. path is used for a moment.
func openDevice(path string, dev uint64) (int, error) {
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(dev)); err != nil {
		return -1, err
	}
	defer func() { _ = unix.Unlink(path) }()
	// Without O_NONBLOCK a terminal may wait for a carrier. Writes may wait.
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, unix.SetNonblock(fd, false)
}
