package kernel

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/boot"
	"github.com/holtvm/holt/internal/cachedir"
)

// maxInitramfs is how many initramfs archives the cache keeps.
const maxInitramfs = 16

// initramfsLayout changes whenever the archive of the same inputs does.
const initramfsLayout = "holt initramfs 2\n"

// initModule is an entry of /modules.json in the initramfs, the list by which
// the agent loads modules.
type initModule struct {
	File  string `json:"file"` // in /modules
	Name  string `json:"name"`
	Group string `json:"group"`
}

// Program is the program that a kernel starts.
type Program interface {
	// ID changes whenever the content does.
	ID() string
	// Read returns the content. It is called when there is no archive yet.
	Read() ([]byte, error)
}

// Bytes is a Program whose content is at hand.
type Bytes []byte

// ID implements Program: it is a hash.
func (b Bytes) ID() string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// Read implements Program.
func (b Bytes) Read() ([]byte, error) { return b, nil }

// Initramfs returns the path of the initramfs for a kernel: init as /init, and
// the modules of the core group and of the groups named. It is made at most once
// and then kept in cacheDir/initramfs.
func Initramfs(k Kernel, init Program, cacheDir string, groups ...string) (string, error) {
	var modules []Module
	for _, m := range k.Modules {
		if m.Group == coreGroup || slices.Contains(groups, m.Group) {
			modules = append(modules, m)
		}
	}
	dir := filepath.Join(cacheDir, "initramfs")
	path := filepath.Join(dir, initramfsKey(init, modules)+".cpio")
	err := cachedir.Touch(path)
	if err == nil {
		return path, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find initramfs: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make initramfs: %w", err)
	}
	content, err := init.Read()
	if err != nil {
		return "", fmt.Errorf("make initramfs: %w", err)
	}
	f, err := atomicfile.Create(path, 0o644)
	if err != nil {
		return "", fmt.Errorf("make initramfs: %w", err)
	}
	defer f.Close()
	if err := writeInitramfs(f, k, content, modules); err != nil {
		return "", fmt.Errorf("make initramfs: %w", err)
	}
	if err := f.Commit(); err != nil {
		return "", fmt.Errorf("make initramfs: %w", err)
	}
	if err := cachedir.Prune(dir, maxInitramfs); err != nil {
		return "", fmt.Errorf("bound initramfs cache: %w", err)
	}
	return path, nil
}

// initramfsKey is a hash of the archive's inputs. The modules' contents were
// hashed when they were imported.
func initramfsKey(init Program, modules []Module) string {
	h := sha256.New()
	h.Write([]byte(initramfsLayout))
	fmt.Fprintf(h, "init %q\n", init.ID())
	for _, m := range modules {
		fmt.Fprintf(h, "%q %q %q %q\n", m.File, m.Name, m.Group, m.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func writeInitramfs(w io.Writer, k Kernel, init []byte, modules []Module) error {
	bw := bufio.NewWriterSize(w, 256<<10)
	a := initArchive{boot.NewCPIOWriter(bw)}
	for _, name := range []string{"dev", "proc", "sys", "newroot", modulesDir} {
		if err := a.w.Write(boot.CPIOHeader{Name: name, Mode: boot.ModeDir | 0o755}, nil); err != nil {
			return err
		}
	}
	// The kernel opens /dev/console for /init before anybody mounts devtmpfs.
	if err := a.device("dev/console", 0o600, 5, 1); err != nil {
		return err
	}
	if err := a.device("dev/null", 0o666, 1, 3); err != nil {
		return err
	}
	if err := a.file("init", 0o755, init); err != nil {
		return err
	}
	list, err := a.modules(k, modules)
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := a.file("modules.json", 0o644, manifest); err != nil {
		return err
	}
	if err := a.w.Close(); err != nil {
		return err
	}
	return bw.Flush()
}

// initArchive writes the kinds of entry that an initramfs has.
type initArchive struct{ w *boot.CPIOWriter }

func (a initArchive) file(name string, perm uint32, content []byte) error {
	return a.w.Write(boot.CPIOHeader{Name: name, Mode: boot.ModeRegular | perm, Size: int64(len(content))}, bytes.NewReader(content))
}

func (a initArchive) device(name string, perm, major, minor uint32) error {
	return a.w.Write(boot.CPIOHeader{Name: name, Mode: boot.ModeChar | perm, RDevMajor: major, RDevMinor: minor}, nil)
}

// modules writes each module once, numbered in the order of loading, and
// returns the list for the agent.
func (a initArchive) modules(k Kernel, modules []Module) ([]initModule, error) {
	list := []initModule{}
	files := make(map[string]string)
	for _, m := range modules {
		file, ok := files[m.File]
		if !ok {
			content, err := os.ReadFile(k.modulePath(m))
			if err != nil {
				return nil, err
			}
			file = fmt.Sprintf("%02d-%s", len(files), m.File)
			if err := a.file(modulesDir+"/"+file, 0o644, content); err != nil {
				return nil, err
			}
			files[m.File] = file
		}
		list = append(list, initModule{file, m.Name, m.Group})
	}
	return list, nil
}
