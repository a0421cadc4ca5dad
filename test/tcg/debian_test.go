//go:build tcg

package tcg

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/vmtest"
)

// sums is a Python program that walks a directory and prints SHA-256 and path
// of every file in it.
const sums = `
import hashlib, os, sys
for base, dirs, files in os.walk(sys.argv[1]):
    for name in files:
        path = os.path.join(base, name)
        with open(path, "rb") as f:
            print(hashlib.sha256(f.read()).hexdigest(), os.path.relpath(path, sys.argv[1]))
`

func TestPythonReadsAHostDirectory(t *testing.T) {
	t.Parallel()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(strings.TrimSpace(string(root)), "src", "cmd")
	want := map[string]string{}
	err = filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		sum := sha256.Sum256(b)
		rel, _ := filepath.Rel(src, path)
		want[rel] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(want) < 2000 {
		t.Fatalf("only %d files in %s", len(want), src)
	}
	r := vmtest.Command{
		Args:  []string{"run", "--rootfs", vmtest.DebianRoot(t), "--overlay", "-i", "-v", src + ":/src:ro", "--", "python3", "-", "/src"},
		Stdin: strings.NewReader(sums),
	}.Run(t)
	if r.Code != 0 || r.Stderr != "" {
		t.Fatalf("exit status %d: %s", r.Code, r.Stderr)
	}
	got := 0
	for line := range strings.Lines(r.Stdout) {
		sum, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if want[path] != sum {
			t.Errorf("%s: %s in the guest, %s on the host", path, sum, want[path])
		}
		got++
	}
	if got != len(want) {
		t.Errorf("the guest saw %d files of %d", got, len(want))
	}
	t.Logf("%d files in %v", got, r.Time.Round(time.Millisecond))
}

const program = `
#include <stdio.h>
#include <unistd.h>
int main(void) {
	FILE *f = fopen("result.tmp", "w");
	if (!f || fprintf(f, "compiled and run in the guest by uid %d\n", getuid()) < 0 || fclose(f) || rename("result.tmp", "result")) {
		perror("result");
		return 1;
	}
	puts("written");
	fflush(stdout);
	getchar(); /* until the host has looked */
	return 0;
}
`

func TestCProgramOnAMappedDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "program.c"), []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte("program: program.c\n\tgcc -O2 -Wall -Werror -o $@ $<\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := vmtest.Command{Args: []string{"run", "--rootfs", vmtest.DebianRoot(t), "--overlay", "-i", "-v", dir + ":/work", "-w", "/work",
		"--", "sh", "-c", "make >&2 && exec ./program"}}
	p, stdin := cmd.StartWithStdin(t)
	p.WaitOutput(t, "written\n")
	// The guest still runs: what it wrote is here at once.
	b, err := os.ReadFile(filepath.Join(dir, "result"))
	if want := "compiled and run in the guest by uid 0\n"; err != nil || string(b) != want {
		t.Errorf("result: %q, %v", b, err)
	}
	st, err := os.Stat(filepath.Join(dir, "program"))
	if err != nil || st.Mode().Perm()&0o100 == 0 {
		t.Errorf("program: %v, %v", st, err)
	}
	fmt.Fprintln(stdin)
	p.Wait(t).Want(t, 0, "written\n")
}
