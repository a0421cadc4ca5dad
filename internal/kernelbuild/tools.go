package kernelbuild

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// needed are the programs and headers of a build, each with the Debian package
// that has it.
var needed = []struct{ file, debian string }{
	{"bc", "bc"},
	{"bison", "bison"},
	{"flex", "flex"},
	{"gcc", "gcc"},
	{"ld", "binutils"},
	{"make", "make"},
	{"strip", "binutils"},
	{"tar", "tar"},
	{"xz", "xz-utils"},
	{"gelf.h", "libelf-dev"},
	{"stdlib.h", "libc6-dev"},
}

// findTools checks that all that is needed is there. It returns the versions of
// those that decide what comes out.
func (b *Builder) findTools(ctx context.Context) (string, error) {
	var missing, packages []string
	for _, n := range needed {
		var err error
		if strings.HasSuffix(n.file, ".h") {
			_, err = os.Stat(filepath.Join(b.headers, n.file))
		} else {
			_, err = exec.LookPath(n.file)
		}
		if err != nil {
			missing = append(missing, n.file)
			packages = append(packages, n.debian)
		}
	}
	if len(missing) > 0 {
		slices.Sort(packages)
		return "", fmt.Errorf("this host lacks %s: on Debian and Ubuntu, run `apt-get install %s` as root",
			strings.Join(missing, ", "), strings.Join(slices.Compact(packages), " "))
	}
	var versions strings.Builder
	for _, tool := range []string{"gcc", "ld"} {
		out, err := exec.CommandContext(ctx, tool, "--version").Output()
		if err != nil {
			return "", fmt.Errorf("%s --version: %w", tool, err)
		}
		first, _, _ := strings.Cut(string(out), "\n")
		versions.WriteString(first + "\n")
	}
	return versions.String(), nil
}
