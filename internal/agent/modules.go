package agent

import (
	"bytes"
	"encoding/binary"
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
	groupMMIO    = "mmio"    // loaded in every guest whose devices are there
	groupConsole = "console" // loaded in every guest with a virtio console
	groupBalloon = "balloon" // loaded in every guest with a balloon
	groupOverlay = "overlay" // loaded for an overlay root
	groupKVM     = "kvm"     // loaded for a guest that runs guests
	groupNet     = "net"     // loaded for a guest with a network
	groupBlock   = "blk"     // loaded in every guest whose disks are there

	// groupFilesystems are tried on a root disk that the kernel alone cannot mount.
	groupFilesystems = "filesystems"
)

// module is one entry of /modules.json, which lists the kernel modules of the
// initramfs in the order of their dependencies.
type module struct {
	File  string `json:"file"` // below /modules
	Name  string `json:"name"`
	Group string `json:"group"`
}

// path is the module's file in the initramfs that is unpacked in dir.
func (m module) path(dir string) string {
	return filepath.Join(dir, "modules", filepath.Base(m.File))
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
		if err := loadModule(m.path(dir)); err != nil {
			return moduleError(m, err)
		}
	}
	return nil
}

func moduleError(m module, err error) error {
	return &agentproto.Error{
		Kind:    agentproto.KindModule,
		Message: fmt.Sprintf("load kernel module %s: %v", m.Name, err),
	}
}

// loadModule loads one module without its signature: checking it is most of
// the time that loading takes, and says nothing that the host, which put both
// the kernel and the module here, does not know. A kernel that insists on
// signatures gets it whole.
func loadModule(file string) error {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	image, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(image) }()
	bare := unsigned(image)
	err = unix.InitModule(bare, "")
	if (errors.Is(err, unix.EKEYREJECTED) || errors.Is(err, unix.EPERM)) && len(bare) < len(image) {
		err = unix.InitModule(image, "")
	}
	if errors.Is(err, unix.EEXIST) {
		return nil // loaded already or built in
	}
	return err
}

const (
	// signatureMagic ends a signed module, after a struct module_signature of
	// signatureInfo bytes, which ends in the signature's length (Linux,
	// include/linux/module_signature.h).
	signatureMagic = "~Module signature appended~\n"
	signatureInfo  = 12
)

// unsigned returns the part of a module before its signature.
func unsigned(image []byte) []byte {
	rest, ok := bytes.CutSuffix(image, []byte(signatureMagic))
	if !ok || len(rest) < signatureInfo {
		return image
	}
	rest, info := rest[:len(rest)-signatureInfo], rest[len(rest)-signatureInfo:]
	size := binary.BigEndian.Uint32(info[signatureInfo-4:])
	if uint64(size) > uint64(len(rest)) {
		return image
	}
	return rest[:len(rest)-int(size)]
}
