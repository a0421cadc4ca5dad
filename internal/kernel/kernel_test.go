package kernel

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/holtvm/holt/internal/boot/boottest"
	"github.com/holtvm/holt/internal/paths"
)

const release = "6.1.0-56-cloud-amd64"

// treeFiles are the modules of the usual test kernel: path, module.
func treeFiles(release string) map[string][]byte {
	mod := func(name string, depends ...string) []byte { return boottest.Module(name, release, depends...) }
	return map[string][]byte{
		"kernel/drivers/virtio/virtio.ko":                    mod("virtio"),
		"kernel/drivers/virtio/virtio_ring.ko":               mod("virtio_ring"),
		"kernel/drivers/virtio/virtio_pci.ko":                mod("virtio_pci", "virtio_ring", "virtio"),
		"kernel/net/vmw_vsock/vsock.ko":                      mod("vsock"),
		"kernel/net/vmw_vsock/vmw_vsock_virtio_transport.ko": mod("vmw_vsock_virtio_transport", "vsock", "virtio"),
		"kernel/fs/fuse/virtiofs.ko":                         mod("virtiofs", "fuse", "virtio"),
		"kernel/fs/fuse/fuse.ko.gz":                          gz(mod("fuse")),
		"kernel/drivers/char/hw_random/virtio-rng.ko":        mod("virtio_rng", "virtio"),
		"kernel/drivers/net/virtio_net.ko":                   mod("virtio_net", "failover", "virtio"),
		"kernel/drivers/net/failover.ko":                     mod("failover"),
		"kernel/drivers/block/virtio_blk.ko":                 mod("virtio_blk", "failover"),
		"kernel/fs/xfs/xfs.ko.gz":                            gz(mod("xfs", "libcrc32c")),
		"kernel/lib/libcrc32c.ko":                            mod("libcrc32c"),
		"kernel/fs/btrfs/btrfs.ko":                           mod("btrfs", "not_there", "libcrc32c"),
		"kernel/drivers/char/virtio_console.ko":              mod("virtio_console", "not_there", "failover"),
		"kernel/unwanted.ko":                                 mod("unwanted"),
		"modules.builtin":                                    []byte("kernel/fs/overlayfs/overlay.ko\nkernel/fs/ext4/ext4.ko\nkernel/crypto/crc32c_generic.ko\n"),
	}
}

func gz(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(b)
	w.Close()
	return buf.Bytes()
}

func bzImage(release string, pvh uint32) []byte {
	return boottest.BzImage(release, gz(boottest.Vmlinux(release, pvh)))
}

func writeFile(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// install puts a kernel below root as a distribution does, and returns the
// options that import it.
func install(t *testing.T, root, release string, files map[string][]byte) ImportOptions {
	t.Helper()
	dir := filepath.Join(root, "lib/modules", release)
	for name, content := range files {
		writeFile(t, filepath.Join(dir, name), content)
	}
	return ImportOptions{Image: writeFile(t, filepath.Join(root, "boot/vmlinuz-"+release), bzImage(release, 0x1000)), ModulesDir: dir}
}

func newStore(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	return Open(paths.Dirs{Data: filepath.Join(dir, "data"), Cache: filepath.Join(dir, "cache")})
}

// unfinished fails the test if writers left anything in dir.
func unfinished(t *testing.T, dir string) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(dir, ".tmp-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// loadOrder lists modules as group:name.
func loadOrder(modules []Module) []string {
	var out []string
	for _, m := range modules {
		out = append(out, m.Group+":"+m.Name)
	}
	return out
}

var wantModules = []string{
	"core:virtio_ring", "core:virtio", "core:virtio_pci",
	"core:vsock", "core:vmw_vsock_virtio_transport",
	"core:fuse", "core:virtiofs",
	"core:virtio_rng",
	"net:failover", "net:virtio_net",
	"blk:failover", "blk:virtio_blk",
	"filesystems:libcrc32c", "filesystems:xfs",
}

// virtio_console and btrfs are missing because part of them is; overlay and ext4 are
// built in.
var wantMissing = []string{
	"virtio_mmio", "virtio_console",
	"squashfs", "erofs", "btrfs", "f2fs", "isofs", "nls_cp437", "nls_ascii", "vfat",
	"virtio_balloon", "irqbypass", "kvm-amd", "kvm-intel",
}

func checkKernel(t *testing.T, k Kernel) {
	t.Helper()
	if k.Version != release || k.ImageFormat != FormatELF || !k.PVH {
		t.Errorf("version %q, format %q, PVH %v", k.Version, k.ImageFormat, k.PVH)
	}
	if got, err := os.ReadFile(k.ImagePath()); err != nil || !bytes.Equal(got, boottest.Vmlinux(release, 0x1000)) {
		t.Errorf("the stored image is not the unpacked kernel, or %v", err)
	}
	if got := loadOrder(k.Modules); !slices.Equal(got, wantModules) {
		t.Errorf("modules %q\nwant %q", got, wantModules)
	}
	if !slices.Equal(k.Missing, wantMissing) {
		t.Errorf("missing %q, want %q", k.Missing, wantMissing)
	}
	for _, m := range k.Modules {
		if got, err := os.ReadFile(k.modulePath(m)); err != nil || !strings.HasPrefix(string(got), "\x7fELF") {
			t.Errorf("module %s is not stored uncompressed, or %v", m.Name, err)
		}
	}
}
