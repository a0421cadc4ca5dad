//go:build tcg

package tcg

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/vmtest"
)

// TestDocs runs the commands of the console blocks of each page, in order and in
// one scratch directory, and compares how they end and what they print with what
// the page says.
func TestDocs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"docs/running.md", "docs/exec-and-files.md", "docs/looking.md", "docs/networking.md", "docs/disks-and-roots.md",
		"docs/backends.md", "README.md",
	} {
		t.Run(name, func(t *testing.T) {
			page, err := os.ReadFile(filepath.Join(vmtest.Repo(t), name))
			if err != nil {
				t.Fatal(err)
			}
			vmtest.CheckPage(t, string(page), t.TempDir(), docsEnvironment(t))
		})
	}
	t.Run("examples", runExamples)
	vmtest.NothingLeft(t)
}

// runExamples runs the examples of the Go package that need guests: those that say what
// they print. They are for people, so "Prints" stands where go test looks for "Output",
// and the root directory is not one of ours.
func runExamples(t *testing.T) {
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	repo := vmtest.Repo(t)
	names, err := filepath.Glob(filepath.Join(repo, "example_*_test.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	replace, dir := map[string]string{}, t.TempDir()
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.NewReplacer("// Prints:", "// Output:", "/srv/debian", dirs.BaseRoot()).Replace(string(text))
		replace[name] = filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(replace[name], []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(overlay, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	env := docsEnvironment(t)
	for _, line := range []string{
		"holt run -d --name web -m 128 -- sleep 600",
		"cd " + repo + " && HOLT_BIN=$(command -v holt) go test -count=1 -overlay " + overlay + " -run '^Example' .",
		"holt rm -f web",
	} {
		vmtest.ShownCommand{Line: line}.Check(t, repo, env)
	}
}

// docsEnvironment puts holt into PATH and gives it a copy of what `holt setup`
// made, so that a page may import and remove kernels.
func docsEnvironment(t *testing.T) []string {
	t.Helper()
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	bin, data := t.TempDir(), t.TempDir()
	if err := os.Symlink(vmtest.Holt(t), filepath.Join(bin, "holt")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(data, "holt"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Its VMs stay there: a page's names are its own.
	run(t, data, "cp", "-a", filepath.Join(dirs.Data, "kernels"), filepath.Join(dirs.Data, "roots"), "holt")
	return []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "XDG_DATA_HOME=" + data, "XDG_RUNTIME_DIR=" + t.TempDir(), "HOLT_HOME="}
}
