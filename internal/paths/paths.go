// Package paths decides where Holt keeps its files: data, caches and what
// belongs to running VMs. It follows the XDG base directory specification,
// and HOLT_HOME moves everything below one directory.
package paths

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Dirs are Holt's own directories, as absolute clean paths. None of them need
// exist yet.
type Dirs struct {
	// Data holds what is worth keeping: kernels, base roots.
	Data string
	// Cache holds what can be made again at any time.
	Cache string
	// Runtime holds one directory for each running VM. It may lie in /tmp,
	// so it is only safe to use after MakeRuntime.
	Runtime string
}

// Default finds the directories of the calling user from HOLT_HOME,
// XDG_DATA_HOME, XDG_CACHE_HOME, XDG_RUNTIME_DIR and HOME. It creates nothing.
func Default() (Dirs, error) {
	return fromEnv(os.Getenv, os.Getuid())
}

func fromEnv(getenv func(string) string, uid int) (Dirs, error) {
	if home := getenv("HOLT_HOME"); home != "" {
		home, err := filepath.Abs(home)
		if err != nil {
			return Dirs{}, fmt.Errorf("resolve HOLT_HOME: %w", err)
		}
		return Dirs{
			Data:    filepath.Join(home, "data"),
			Cache:   filepath.Join(home, "cache"),
			Runtime: filepath.Join(home, "run"),
		}, nil
	}
	data, err := xdgDir(getenv, "XDG_DATA_HOME", ".local/share")
	if err != nil {
		return Dirs{}, err
	}
	cache, err := xdgDir(getenv, "XDG_CACHE_HOME", ".cache")
	if err != nil {
		return Dirs{}, err
	}
	return Dirs{Data: data, Cache: cache, Runtime: runtimeDir(getenv, uid)}, nil
}

// xdgDir is the value of variable, or fallback below HOME. The specification
// says that a relative value is to be ignored.
func xdgDir(getenv func(string) string, variable, fallback string) (string, error) {
	if dir := getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "holt"), nil
	}
	home := getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", fmt.Errorf("no place for files: set HOLT_HOME, %s or HOME to an absolute path", variable)
	}
	return filepath.Join(home, fallback, "holt"), nil
}

// runtimeDir ignores an XDG_RUNTIME_DIR that is missing or somebody else's,
// as it is after su and in containers that keep the variable.
func runtimeDir(getenv func(string) string, uid int) string {
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && checkOwnDir(dir, uid) == nil {
		return filepath.Join(dir, "holt")
	}
	return filepath.Join("/tmp", "holt-"+strconv.Itoa(uid))
}

// BaseRoot is the root directory that `holt setup` makes.
func (d Dirs) BaseRoot() string { return filepath.Join(d.Data, "roots", "base") }

// ErrUnsafeDir says that a directory which must be private could be under
// somebody else's control.
var ErrUnsafeDir = errors.New("directory is not safe to use")

// MakeRuntime creates the runtime directory with mode 0700 if it is missing.
// It returns ErrUnsafeDir when something else is in its place: a symbolic
// link, another user's directory, or one that others can enter.
func (d Dirs) MakeRuntime() error {
	if err := os.MkdirAll(filepath.Dir(d.Runtime), 0o700); err != nil {
		return fmt.Errorf("create runtime directory: %w", err)
	}
	if err := os.Mkdir(d.Runtime, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("create runtime directory: %w", err)
	}
	return checkPrivateDir(d.Runtime, os.Getuid())
}
