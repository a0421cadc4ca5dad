package fsserver

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hanwen/go-fuse/v2/posixtest"
)

// TestPosix mounts the file system through /dev/fuse on this host and runs the
// protocol library's POSIX conformance tests on it.
func TestPosix(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("needs /dev/fuse, which this host has not")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount without fusermount")
	}
	for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
		if name == "FcntlFlockLocksFile" {
			continue // expects a process to conflict with its own POSIX locks
		}
		t.Run(name, func(t *testing.T) {
			posixtest.All[name](t, mount(t, t.TempDir()))
		})
	}
}

// mount serves dir on a new mount point until the test ends.
func mount(t *testing.T, dir string) string {
	t.Helper()
	c := newClient(t, dir, Options{})
	mnt := t.TempDir()
	server, err := fuse.NewServer(c.fs, mnt, &fuse.MountOptions{
		DirectMountStrict:    true,
		DirectMountFlags:     syscall.MS_NOSUID | syscall.MS_NODEV,
		AllowOther:           true,
		Options:              []string{"default_permissions"},
		MaxWrite:             maxWrite,
		MaxBackground:        maxBackground,
		EnableSymlinkCaching: true,
		ExtraCapabilities:    wantedCapabilities,
	})
	if err != nil {
		t.Fatalf("mount: %v", err)
	}
	go server.Serve()
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	if err := server.WaitMount(); err != nil {
		t.Fatalf("wait for mount: %v", err)
	}
	return mnt
}
