package kernel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holtvm/holt/internal/atomicfile"
)

// Names in a kernel's directory.
const (
	manifestFile = "manifest.json"
	modulesDir   = "modules"
	elfFile      = "vmlinux"
	bzImageFile  = "vmlinuz"
)

// manifestSchema is the version of the manifest's format.
const manifestSchema = 1

// ImageFormat is how a kernel image has to be loaded.
type ImageFormat string

const (
	// FormatELF is an uncompressed vmlinux.
	FormatELF ImageFormat = "elf"
	// FormatBzImage is a bzImage, which unpacks itself in the guest.
	FormatBzImage ImageFormat = "bzImage"
)

// Manifest describes a kernel. It is the file manifest.json in its directory.
type Manifest struct {
	Schema int `json:"schema"`
	// Name is the kernel's name in the store.
	Name string `json:"name"`
	// Version is what uname -r says in the guest, "" if the image does not
	// tell.
	Version string `json:"version"`
	// Arch is the architecture as Go names it.
	Arch        string      `json:"arch"`
	Image       string      `json:"image"`
	ImageFormat ImageFormat `json:"image_format"`
	// PVH says that the image has a PVH entry point, through which QEMU
	// boots ELF kernels.
	PVH bool `json:"pvh"`
	// Modules are in the order in which they must be loaded. None means that
	// everything is built in.
	Modules []Module `json:"modules"`
	// Groups are the groups of modules that were looked for.
	Groups []string `json:"groups,omitempty"`
	// Missing are optional modules that this kernel does not have in any form.
	Missing []string `json:"missing,omitempty"`
	// Source says to people where the kernel is from.
	Source string `json:"source"`
	// SHA256 is the hash of the image, in hexadecimal.
	SHA256  string    `json:"sha256"`
	Created time.Time `json:"created"`
}

// Module is a kernel module of a kernel. One that several groups need is
// listed once for each; core modules are not listed again.
type Module struct {
	// File is its name in the modules directory.
	File string `json:"file"`
	// Name is the module's name for the kernel.
	Name string `json:"name"`
	// Group says who needs it: "core" for every guest, or "mmio", "console",
	// "overlay", "net", "blk", "filesystems", "balloon", "kvm".
	Group  string `json:"group"`
	SHA256 string `json:"sha256"`
}

// validName reports whether a kernel may be called this: it becomes a directory.
// The name begins with a letter or a digit and has 128 bytes at most. (A regular
// expression for it would cost each start of each program 0.3 ms.)
func validName(name string) bool {
	for i, c := range []byte(name) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("._+~-", rune(c))) {
			return false
		}
	}
	return name != "" && len(name) <= 128
}

// CheckName returns an error that says why unless name can be a kernel's name in
// the store.
func CheckName(name string) error {
	if !validName(name) {
		return fmt.Errorf("%q cannot be a name: use letters, digits and . _ + ~ -", name)
	}
	return nil
}

// Has says whether the kernel has modules of a group.
func (m Manifest) Has(group string) bool {
	return slices.ContainsFunc(m.Modules, func(mod Module) bool { return mod.Group == group })
}

func (m Manifest) write(dir string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, manifestFile), append(b, '\n'), 0o644)
}

// load reads the kernel in dir. Its error is fs.ErrNotExist if there is none.
func load(dir string) (Kernel, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return Kernel{}, err
	}
	m, err := parseManifest(b)
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel in %s: %w", dir, err)
	}
	return Kernel{m, dir}, nil
}

func parseManifest(b []byte) (Manifest, error) {
	var m Manifest
	// The schema comes first: another one may have other keys.
	if err := json.Unmarshal(b, &struct {
		Schema *int `json:"schema"`
	}{&m.Schema}); err != nil {
		return m, fmt.Errorf("read manifest: %w", err)
	}
	if m.Schema != manifestSchema {
		return m, fmt.Errorf("read manifest: its schema is %d, this version of holt knows %d", m.Schema, manifestSchema)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("read manifest: %w", err)
	}
	return m, m.check()
}

// check makes sure that no name in the manifest leads out of its directory.
func (m Manifest) check() error {
	if !validName(m.Name) {
		return fmt.Errorf("manifest: bad name %q", m.Name)
	}
	switch {
	case m.ImageFormat == FormatELF && m.Image == elfFile:
	case m.ImageFormat == FormatBzImage && m.Image == bzImageFile:
	default:
		return fmt.Errorf("manifest: bad image %q of format %q", m.Image, m.ImageFormat)
	}
	for _, mod := range m.Modules {
		if !validName(mod.File) || !validName(mod.Name) {
			return fmt.Errorf("manifest: bad module %q in file %q", mod.Name, mod.File)
		}
	}
	return nil
}
