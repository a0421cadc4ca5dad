package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/aptpkg"
	"github.com/holtvm/holt/internal/aptpkg/apttest"
	"github.com/holtvm/holt/internal/paths"
)

// packageFiles are the files of a kernel package whose modules lie below lib.
func packageFiles(release, lib string) map[string]string {
	files := map[string]string{
		"boot/vmlinuz-" + release:          string(bzImage(release, 0x1000)),
		"boot/config-" + release:           "CONFIG_64BIT=y\n",
		"usr/share/doc/linux/changelog.gz": "long",
	}
	for name, content := range treeFiles(release) {
		files[lib+"/modules/"+release+"/"+name] = string(content)
	}
	return files
}

func TestFetch(t *testing.T) {
	const image = "linux-image-" + release
	for name, add := range map[string]func(*apttest.Apt){
		"Debian": func(apt *apttest.Apt) {
			apt.Add(apttest.OnHost, "linux-image-cloud-amd64", "6.1", image+" (= 6.1)", nil)
			apt.Add(apttest.OnHost, image, "6.1", "kmod", apttest.Deb(t, packageFiles(release, "lib")))
		},
		"Debian with merged usr": func(apt *apttest.Apt) {
			apt.Add(apttest.OnHost, "linux-image-cloud-amd64", "6.1", image, nil)
			apt.Add(apttest.OnHost, image, "6.1", "", apttest.Deb(t, packageFiles(release, "usr/lib")))
		},
		"Ubuntu": func(apt *apttest.Apt) {
			files := packageFiles(release, "lib")
			kernel := map[string]string{"boot/vmlinuz-" + release: files["boot/vmlinuz-"+release]}
			delete(files, "boot/vmlinuz-"+release)
			apt.Add(apttest.OnHost, "linux-image-virtual", "6.1", image, nil)
			apt.Add(apttest.OnHost, image, "6.1", "kmod, linux-modules-"+release, apttest.Deb(t, kernel))
			apt.Add(apttest.OnHost, "linux-modules-"+release, "6.1", "", apttest.Deb(t, files))
		},
		"no package lists on the host": func(apt *apttest.Apt) {
			apt.Add(apttest.OnMirror, "linux-image-cloud-amd64", "6.1", image, nil)
			apt.Add(apttest.OnMirror, image, "6.1", "", apttest.Deb(t, packageFiles(release, "lib")))
		},
		"old package lists on the host": func(apt *apttest.Apt) {
			apt.Add(apttest.OnMirror, "linux-image-cloud-amd64", "6.1", image, nil)
			apt.Add(apttest.Gone, "linux-image-cloud-amd64", "6.0", "linux-image-6.0", nil)
			apt.Add(apttest.Gone, "linux-image-6.0", "6.0", "", []byte("gone"))
			apt.Add(apttest.OnMirror, "linux-image-cloud-amd64", "6.1", image, nil)
			apt.Add(apttest.OnMirror, image, "6.1", "", apttest.Deb(t, packageFiles(release, "lib")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			apt, s := apttest.New(t), newStore(t)
			add(apt)
			var steps []string
			k, err := s.Fetch(t.Context(), func(step string) { steps = append(steps, step) })
			if err != nil {
				t.Fatal(err)
			}
			checkKernel(t, k)
			if want := "Debian package " + image + " 6.1"; k.Source != want {
				t.Errorf("source %q, want %q", k.Source, want)
			}
			if !slices.Contains(steps, "downloading "+image+" 6.1") {
				t.Errorf("progress was %q", steps)
			}
			unfinished(t, s.dir)

			apt.Calls()
			again, err := s.Fetch(t.Context(), nil)
			if err != nil || !again.Created.Equal(k.Created) {
				t.Errorf("second fetch: %v", err)
			}
			for _, call := range apt.Calls() {
				if !strings.HasPrefix(call, "show") {
					t.Errorf("second fetch asked apt to %s", call)
				}
			}

			// A kernel that was fetched by a Holt which wanted fewer modules.
			k.Groups = k.Groups[1:]
			if err := k.write(k.Dir); err != nil {
				t.Fatal(err)
			}
			if again, err := s.Fetch(t.Context(), nil); err != nil || !slices.Equal(again.Groups, groupNames()) {
				t.Errorf("fetch in place of an old one: groups %q, %v", again.Groups, err)
			}
		})
	}
}

func TestFetchWithoutApt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := newStore(t).Fetch(t.Context(), nil)
	if !errors.Is(err, aptpkg.ErrNoApt) || !strings.Contains(err.Error(), "holt kernel import") {
		t.Errorf("got %v, want ErrNoApt and what to do", err)
	}
}

// TestFetchReal fetches from the distribution.
func TestFetchReal(t *testing.T) {
	if os.Getenv("HOLT_TEST_FETCH") != "1" {
		t.Skip("needs the network: set HOLT_TEST_FETCH=1")
	}
	dir := t.TempDir()
	s := Open(paths.Dirs{Data: filepath.Join(dir, "data"), Cache: filepath.Join(dir, "cache")})
	k, err := s.Fetch(t.Context(), func(step string) { t.Log(step) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s, %s, PVH %v, modules %q, missing %q", k.Name, k.Source, k.ImageFormat, k.PVH, loadOrder(k.Modules), k.Missing)
	if len(k.Modules) == 0 || k.ImageFormat != FormatELF || !k.PVH {
		t.Errorf("unexpected kernel: %+v", k.Manifest)
	}
}
