package kernel

// coreGroup is the group of modules that every guest loads.
const coreGroup = "core"

// wanted is a module that Holt has a use for.
type wanted struct {
	// name is spelled as in the kernel's tree: some files have hyphens.
	name string
	// config is the option that builds it.
	config string
}

// groups are the modules to take from a kernel's tree. Core is first, so that
// what it depends on is not listed again.
var groups = []struct {
	name    string
	modules []wanted
}{
	{coreGroup, []wanted{
		{"virtio_pci", "CONFIG_VIRTIO_PCI"},
		{"vmw_vsock_virtio_transport", "CONFIG_VIRTIO_VSOCKETS"},
		{"virtiofs", "CONFIG_VIRTIO_FS"},
		{"virtio-rng", "CONFIG_HW_RANDOM_VIRTIO"},
	}},
	{"mmio", []wanted{{"virtio_mmio", "CONFIG_VIRTIO_MMIO"}}},
	{"console", []wanted{{"virtio_console", "CONFIG_VIRTIO_CONSOLE"}}},
	{"overlay", []wanted{{"overlay", "CONFIG_OVERLAY_FS"}}},
	{"net", []wanted{{"virtio_net", "CONFIG_VIRTIO_NET"}}},
	{"blk", []wanted{{"virtio_blk", "CONFIG_VIRTIO_BLK"}}},
	// What a root disk may have, the likeliest first: the agent loads one after
	// the other until it can mount. What a file system asks the kernel for by name
	// stands before it, since the guest has no modprobe then.
	{"filesystems", []wanted{
		{"crc32c_generic", "CONFIG_CRYPTO_CRC32C"},
		{"ext4", "CONFIG_EXT4_FS"},
		{"squashfs", "CONFIG_SQUASHFS"},
		{"erofs", "CONFIG_EROFS_FS"},
		{"xfs", "CONFIG_XFS_FS"}, // large
		{"btrfs", "CONFIG_BTRFS_FS"},
		{"f2fs", "CONFIG_F2FS_FS"},
		{"isofs", "CONFIG_ISO9660_FS"},
		{"nls_cp437", "CONFIG_NLS_CODEPAGE_437"},
		{"nls_ascii", "CONFIG_NLS_ASCII"},
		{"vfat", "CONFIG_VFAT_FS"},
	}},
	{"balloon", []wanted{{"virtio_balloon", "CONFIG_VIRTIO_BALLOON"}}},
	{"kvm", []wanted{{"irqbypass", "CONFIG_KVM"}, {"kvm-amd", "CONFIG_KVM_AMD"}, {"kvm-intel", "CONFIG_KVM_INTEL"}}},
}

// groupNames are the groups' names. A kernel that was imported for other ones may
// lack modules.
func groupNames() (names []string) {
	for _, g := range groups {
		names = append(names, g.name)
	}
	return names
}
