package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk makes a process of this binary one that imports an archive, which it reads
// from its input, to a disk with no space for it.
const smallDisk = "HOLT_TEST_SMALL_DISK"

// TestImportToAFullDisk: what does not fit is given up, with nothing of it left.
func TestImportToAFullDisk(t *testing.T) {
	have := pages{}
	for i := range uint32(200) {
		have[i] = byte(i + 1)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), smallDisk+"="+t.TempDir())
	cmd.Stdin = bytes.NewReader(archive(t, mustTake(t, OpenAt(t.TempDir()), "a", nil, have), false))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || strings.Contains(string(out), "cannot mount") {
		t.Skipf("no small disk can be made here: %v %s", err, out)
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// importToSmallDisk is that process.
func importToSmallDisk(dir string) error {
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=400k"); err != nil {
		return fmt.Errorf("cannot mount: %w", err)
	}
	s := OpenAt(dir)
	if _, err := s.Import(context.Background(), os.Stdin, ""); !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w, want %w", err, unix.ENOSPC)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != ".names.lock" {
		return fmt.Errorf("left behind: %v, %w", left, err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return err
	}
	if used := fs.Blocks - fs.Bfree; used > 2 {
		return fmt.Errorf("%d blocks are in use still", used)
	}
	return nil
}
