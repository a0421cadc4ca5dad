package baseroot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// busyboxPath is where busybox is in a base root.
const busyboxPath = "bin/busybox"

// linkApplets makes a symbolic link for each command that the busybox in root
// has. It asks the busybox itself, which is static and runs on the host.
func linkApplets(ctx context.Context, root string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(root, busyboxPath), "--list-full").Output()
	if err != nil {
		return fmt.Errorf("ask busybox for its commands: %w", err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		if name == busyboxPath || name == "linuxrc" { // that is for initial ramdisks
			continue
		}
		dir := filepath.Dir(name)
		up, err := filepath.Rel("/"+dir, "/"+busyboxPath)
		if err != nil || !filepath.IsLocal(name) || !knownDir(dir) {
			return fmt.Errorf("busybox has a command in an odd place: %q", name)
		}
		// Relative links lead to this busybox when seen from the host, too.
		if err := os.Symlink(up, filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func knownDir(name string) bool {
	for _, d := range dirs {
		if d.name == name {
			return true
		}
	}
	return false
}
