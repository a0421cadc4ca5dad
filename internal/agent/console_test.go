package agent

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestIsNull(t *testing.T) {
	for path, want := range map[string]bool{os.DevNull: true, "/dev/zero": false, t.TempDir(): false} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := isNull(int(f.Fd())); got != want {
			t.Errorf("%s: %v", path, got)
		}
		f.Close()
	}
	if isNull(-1) {
		t.Error("no descriptor is /dev/null")
	}
}

func TestOpenDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device")
	fd, err := openDevice(path, unix.Mkdev(1, 5)) // zero
	if err != nil {
		t.Skipf("no device can be made here: %v", err)
	}
	defer unix.Close(fd)
	b := []byte{1}
	if n, err := unix.Read(fd, b); n != 1 || err != nil || b[0] != 0 {
		t.Errorf("read %d, %v of /dev/zero: %v", n, err, b)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("flags %#o, %v: writes do not wait", flags, err)
	}
	if _, err := openDevice(path, unix.Mkdev(240, 255)); err == nil {
		t.Error("a device without a driver opens")
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the name is left: %v", err)
	}
}

// TestOpenConsoleElsewhere: outside of a guest nothing is taken over.
func TestOpenConsoleElsewhere(t *testing.T) {
	var before, after unix.Stat_t
	if err := unix.Fstat(2, &before); err != nil {
		t.Fatal(err)
	}
	openConsole()
	if err := unix.Fstat(2, &after); err != nil || before.Ino != after.Ino || before.Rdev != after.Rdev {
		t.Errorf("standard error is another file: %v", err)
	}
}
