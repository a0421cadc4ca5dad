// Package apttest stands in for apt and a package mirror in tests.
package apttest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Deb is a Debian package file with the given regular files.
func Deb(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var data bytes.Buffer
	zw, err := zstd.NewWriter(&data)
	check(t, err)
	tw := tar.NewWriter(zw)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		check(t, tw.WriteHeader(&tar.Header{Name: "./" + name, Mode: 0o755, Size: int64(len(files[name]))}))
		_, err := io.WriteString(tw, files[name])
		check(t, err)
	}
	check(t, tw.Close())
	check(t, zw.Close())
	return Archive(t, "data.tar.zst", data.Bytes())
}

// Archive is a Debian package file whose data member is as given.
func Archive(t testing.TB, name string, data []byte) []byte {
	t.Helper()
	deb := []byte("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", nil}, {name, data}} {
		deb = fmt.Appendf(deb, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, 0, 0, 0, 0o100644, len(m.data))
		deb = append(deb, m.data...)
		deb = append(deb, make([]byte, len(m.data)%2)...)
	}
	return deb
}

// Apt is a directory that plays the host's package lists and its mirror.
type Apt struct {
	t   testing.TB
	dir string
}

// New puts an apt-get and an apt-cache at the head of PATH for the duration
// of the test. They know no packages yet.
func New(t *testing.T) *Apt {
	t.Helper()
	a := &Apt{t, t.TempDir()}
	for _, dir := range []string{"bin", "system", "mirror", "pool"} {
		check(t, os.Mkdir(filepath.Join(a.dir, dir), 0o755))
	}
	check(t, os.WriteFile(filepath.Join(a.dir, "bin/apt-get"), []byte(script), 0o755))
	check(t, os.Symlink("apt-get", filepath.Join(a.dir, "bin/apt-cache")))
	t.Setenv("PATH", filepath.Join(a.dir, "bin")+":"+os.Getenv("PATH"))
	t.Setenv("APTTEST", a.dir)
	return a
}

// script is both apt tools. Lists are directories with a record per package.
const script = `#!/bin/sh
lists=$APTTEST/system
while [ "$1" = -o ]; do
	case $2 in Dir::State::Lists=*) lists=${2#*=} ;; esac
	shift 2
done
echo "$1 $(echo "$lists" | grep -q "^$APTTEST" && echo system || echo private)" >>$APTTEST/log
for last; do :; done
case $1 in
show) cat "$lists/$last" 2>/dev/null || { echo "E: No packages found" >&2; exit 100; } ;;
update) cp "$APTTEST"/mirror/* "$lists" 2>/dev/null
	if [ -e $APTTEST/bad-source ]; then echo "E: a source is bad" >&2; exit 100; fi ;;
download) cp "$APTTEST/pool/$last.deb" . 2>/dev/null || { echo "E: 404 Not Found" >&2; exit 100; } ;;
esac
`

// Listed says which lists have a package.
type Listed int

const (
	// OnMirror packages appear once the lists are updated.
	OnMirror Listed = iota
	// OnHost packages are in the host's own lists, too.
	OnHost
	// Gone packages are in the host's own lists, but no longer to be had.
	Gone
)

// Add makes a package known. Without a deb it has dependencies only.
func (a *Apt) Add(listed Listed, name, version, depends string, deb []byte) {
	a.t.Helper()
	sum := sha256.Sum256(deb)
	record := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nDepends: %s\nFilename: pool/%s.deb\nSHA256: %s\nDescription: x\n more: text\n\n",
		name, version, depends, name, hex.EncodeToString(sum[:]))
	if listed != OnMirror {
		check(a.t, os.WriteFile(filepath.Join(a.dir, "system", name), []byte(record), 0o644))
	}
	if listed != Gone {
		check(a.t, os.WriteFile(filepath.Join(a.dir, "mirror", name), []byte(record), 0o644))
		check(a.t, os.WriteFile(filepath.Join(a.dir, "pool", name+"="+version+".deb"), deb, 0o644))
	}
}

// BadSource makes updating package lists fail in part.
func (a *Apt) BadSource() {
	a.t.Helper()
	check(a.t, os.WriteFile(filepath.Join(a.dir, "bad-source"), nil, 0o644))
}

// Calls returns what the tools were asked since the last call of Calls: the
// command and the lists it was given, as in "show system".
func (a *Apt) Calls() []string {
	a.t.Helper()
	path := filepath.Join(a.dir, "log")
	log, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	check(a.t, err)
	check(a.t, os.Remove(path))
	return strings.Split(strings.TrimSpace(string(log)), "\n")
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
