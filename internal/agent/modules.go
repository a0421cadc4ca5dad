package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// Groups of modules in the manifest.
const (
	groupCore    = "core"    // loaded in every guest
	groupOverlay = "overlay" // loaded for an overlay root
)

// module is one entry of /modules.json, which lists the kernel modules of the
// initramfs in the order of their dependencies.
type module struct {
	File  string `json:"file"` // below /modules
	Name  string `json:"name"`
	Group string `json:"group"`
}

// readManifest reads dir/modules.json. Without one everything is built in.
func readManifest(dir string) ([]module, error) {
	b, err := os.ReadFile(filepath.Join(dir, "modules.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read module manifest: %w", err)
	}
	var modules []module
	if err := json.Unmarshal(b, &modules); err != nil {
		return nil, fmt.Errorf("read module manifest: %w", err)
	}
	return modules, nil
}

// loadModules loads the modules of a group.
func loadModules(dir string, modules []module, group string) error {
	for _, m := range modules {
		if m.Group != group {
			continue
		}
		if err := loadModule(filepath.Join(dir, "modules", filepath.Base(m.File))); err != nil {
			return &agentproto.Error{
				Kind:    agentproto.KindModule,
				Message: fmt.Sprintf("load kernel module %s: %v", m.Name, err),
			}
		}
	}
	return nil
}

func loadModule(file string) error {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// A module that is there already, loaded or built in, is as good.
	if err := unix.FinitModule(fd, "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
