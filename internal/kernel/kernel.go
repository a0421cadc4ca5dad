// Package kernel keeps guest kernels: it finds, fetches, imports and lists
// them, and makes the initramfs that each one starts with. A kernel is a
// directory with an image, the modules that a guest of Holt may need, and a
// manifest.
package kernel

import (
	"errors"
	"path/filepath"
)

var (
	// ErrNoKernel says that the store is empty.
	ErrNoKernel = errors.New("there is no guest kernel yet: run `holt setup` or `holt kernel fetch`")
	// ErrNotFound says that the store has no kernel of the name asked for.
	ErrNotFound = errors.New("no such kernel: `holt kernel ls` shows those that there are")
	// ErrExists says that the store has another kernel of that name.
	ErrExists = errors.New("a different kernel has this name already: remove it first, or choose another name")
)

// Kernel is one guest kernel on disk.
type Kernel struct {
	Manifest
	// Dir is the directory that holds it.
	Dir string
}

// ImagePath is the file to boot, in the format that ImageFormat says.
func (k Kernel) ImagePath() string { return filepath.Join(k.Dir, k.Image) }

// modulePath is the uncompressed module file.
func (k Kernel) modulePath(m Module) string { return filepath.Join(k.Dir, modulesDir, m.File) }
