package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// loadModules loads the kernel modules that the initramfs lists, in the order in
// which they depend on each other.
func loadModules() error {
	list, err := os.ReadFile("/modules.json")
	if err != nil {
		return err
	}
	var modules []struct{ File string }
	if err := json.Unmarshal(list, &modules); err != nil {
		return fmt.Errorf("read module list: %w", err)
	}
	for _, m := range modules {
		image, err := os.ReadFile(filepath.Join("/modules", m.File))
		if err != nil {
			return err
		}
		if err := unix.InitModule(image, ""); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load module %s: %w", m.File, err)
		}
	}
	return nil
}
