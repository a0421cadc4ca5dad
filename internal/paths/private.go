package paths

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkOwnDir fails unless path is a real directory (no symbolic link) that
// belongs to uid.
func checkOwnDir(path string, uid int) error {
	_, err := ownDir(path, uid)
	return err
}

// checkPrivateDir is checkOwnDir, and nobody but the owner may enter.
func checkPrivateDir(path string, uid int) error {
	info, err := ownDir(path, uid)
	if err != nil {
		return err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%s: %w: its mode is %04o, want 0700", path, ErrUnsafeDir, perm)
	}
	return nil
}

func ownDir(path string, uid int) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("check directory: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s: %w: it is not a directory", path, ErrUnsafeDir)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != uid {
		return nil, fmt.Errorf("%s: %w: it belongs to another user", path, ErrUnsafeDir)
	}
	return info, nil
}
