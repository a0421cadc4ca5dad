package holt

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
)

const (
	// MinMemoryMB is the smallest valid MemoryMB, in MiB.
	MinMemoryMB = 64
	// MinCPUQuotaUS is the smallest valid CPUQuotaUS, in microseconds; the
	// kernel's CPU bandwidth control accepts nothing below it.
	MinCPUQuotaUS = 1000
	// CPUPeriodUS is the period that CPUQuotaUS is a part of, in microseconds.
	CPUPeriodUS = 100_000

	defaultVCPUCount = 1
	defaultMemoryMB  = 512

	bytesPerMiB = 1 << 20
)

// Config describes one microVM. It is a plain value: start from
// [DefaultConfig], set fields, and check the result with [Config.Validate].
// The JSON names are a public format; see docs/config.md for every rule.
//
// Copies of a Config share its slices and CPUQuotaUS.
type Config struct {
	// VCPUCount is the number of virtual CPUs, at least 1. The upper limit
	// is the backend's.
	VCPUCount uint8 `json:"vcpu_count"`
	// MemoryMB is the guest memory in MiB, at least MinMemoryMB.
	MemoryMB uint32 `json:"memory_mb"`
	// CPUQuotaUS is the CPU time in microseconds that all vCPUs together
	// may use in each period of 100 ms, at least MinCPUQuotaUS. Nil means
	// no limit.
	CPUQuotaUS *uint64 `json:"cpu_quota_us,omitempty"`
	// Nested gives the guest a /dev/kvm, so that it can run virtual machines
	// itself. The kernel must have KVM, and the virtual CPU SVM or VMX.
	Nested bool `json:"nested,omitempty"`
	// CPUTemplate bounds the processor features that the guest is shown, so that its
	// snapshots can be restored on other hosts: "x86-64-v2" or "x86-64-v3", the
	// micro-architecture levels of the x86-64 psABI. Empty shows all that the host
	// has. Only the kvm backend has templates.
	CPUTemplate string `json:"cpu_template,omitempty"`

	// KernelPath is the guest kernel on the host, a bzImage or an ELF
	// vmlinux. Empty means Holt's default kernel.
	KernelPath string `json:"kernel_path,omitempty"`
	// RootfsPath is a gzip-compressed cpio archive on the host that is
	// unpacked into guest memory and becomes /. Exactly one of RootfsPath,
	// RootPath and RootDisk is set.
	RootfsPath string `json:"rootfs_path,omitempty"`
	// RootPath is a directory on the host that becomes / through virtio-fs.
	// Unless RootOverlay is set, the guest's writes change it.
	RootPath string `json:"root_path,omitempty"`
	// RootDisk is a disk whose file system becomes /, of any type that the
	// guest kernel knows; the whole disk, without a partition table.
	RootDisk Disk `json:"root_disk,omitzero"`
	// RootOverlay keeps writes to / in guest memory, where they are lost
	// when the guest ends; RootPath or RootDisk is then only read. It needs
	// one of them.
	RootOverlay bool `json:"root_overlay,omitempty"`
	// Disks are further disks, which the guest finds in this order and as
	// /dev/disk/by-id/virtio-disk0 and so on. It mounts them itself. No file
	// may occur twice, unless it is read-only everywhere.
	Disks []Disk `json:"disks,omitempty"`
	// MappedDirs are further host directories that the guest sees. No two
	// may have the same guest path.
	MappedDirs []PathPair `json:"mapped_dirs,omitempty"`

	// ExecPath is the program that the guest runs, and its argv[0]: an
	// absolute guest path, a bare name that is looked up in the guest's
	// PATH, or a relative path with a slash, resolved against WorkdirPath.
	// It is required.
	ExecPath string `json:"exec_path,omitempty"`
	// Args are the program's arguments, without argv[0].
	Args []string `json:"args,omitempty"`
	// Env is the program's environment. When a key is repeated the last
	// value wins.
	Env []EnvPair `json:"env,omitempty"`
	// WorkdirPath is the absolute guest path that the program starts in.
	// Empty means /.
	WorkdirPath string `json:"workdir_path,omitempty"`
	// Rlimits are the program's resource limits, each resource at most once.
	Rlimits []Rlimit `json:"rlimits,omitempty"`

	// Network is how far the guest's network reaches.
	Network NetworkMode `json:"network,omitzero"`
	// NetworkRules allow and deny what Network would not, in this order: the
	// first that matches decides.
	NetworkRules []NetworkRule `json:"network_rules,omitempty"`
	// PortMap are the guest ports that the host publishes. A host port may
	// be used once per address and protocol.
	PortMap []PortPair `json:"port_map,omitempty"`
	// AssignedIP is the guest's IPv4 address. The zero Addr lets Holt choose.
	AssignedIP netip.Addr `json:"assigned_ip,omitzero"`
	// AssignedPrefixLen is the length of the prefix of the network around
	// AssignedIP, 8 to 29 bits. 0 is 24.
	AssignedPrefixLen uint8 `json:"assigned_prefix_len,omitempty"`
	// LocalOnly is NetworkLocal in the words of the seed: it binds published
	// ports to the loopback only and lets the guest reach the host's loopback
	// services, never the world.
	LocalOnly bool `json:"local_only,omitempty"`
	// DNSServers are asked for the names that the guest looks up, in place of
	// the host's own resolver. They are reached from the host.
	DNSServers []netip.AddrPort `json:"dns_servers,omitempty"`
	// PacketCapture is a file on the host that is created or truncated and
	// gets every frame of the guest's network, as pcap. Empty means none.
	PacketCapture string `json:"packet_capture,omitempty"`

	// ConsoleOutput is a file on the host that is created or truncated and
	// gets the guest console and the program's standard output and error.
	// Empty means none.
	ConsoleOutput string `json:"console_output,omitempty"`
	// LogLevel is how much Holt logs about this microVM.
	LogLevel LogLevel `json:"log_level,omitzero"`
}

// DefaultConfig returns the configuration that absent JSON keys have: one vCPU,
// 512 MiB, no logging and everything else unset. It is not valid by itself: a
// root and a program are missing.
func DefaultConfig() Config {
	return Config{VCPUCount: defaultVCPUCount, MemoryMB: defaultMemoryMB}
}

// MemoryBytes returns the guest memory in bytes. It fails when the size does
// not fit an int, which is how long the mapping of guest memory can be.
func (c Config) MemoryBytes() (int, error) {
	return mebibytes(c.MemoryMB, math.MaxInt)
}

// mebibytes converts mb to bytes, at most limit. The limit is a parameter so
// that a 64-bit test can ask what a 32-bit host answers.
func mebibytes(mb uint32, limit uint64) (int, error) {
	bytes := uint64(mb) * bytesPerMiB // 32 + 20 bits: cannot wrap
	if bytes > limit {
		return 0, &FieldError{
			Field:   "memory_mb",
			Value:   fmt.Sprint(mb),
			Problem: fmt.Sprintf("must be at most %d (MiB) on this host", limit/bytesPerMiB),
		}
	}
	return int(bytes), nil
}

// Equal reports whether c and d describe the same microVM. Nil and empty lists
// are the same; order within a list matters, and so does the spelling of a path.
func (c Config) Equal(d Config) bool {
	sameQuota := c.CPUQuotaUS == d.CPUQuotaUS ||
		c.CPUQuotaUS != nil && d.CPUQuotaUS != nil && *c.CPUQuotaUS == *d.CPUQuotaUS
	return c.VCPUCount == d.VCPUCount &&
		c.MemoryMB == d.MemoryMB &&
		sameQuota &&
		c.Nested == d.Nested &&
		c.CPUTemplate == d.CPUTemplate &&
		c.KernelPath == d.KernelPath &&
		c.RootfsPath == d.RootfsPath &&
		c.RootPath == d.RootPath &&
		c.RootDisk == d.RootDisk &&
		c.RootOverlay == d.RootOverlay &&
		slices.Equal(c.Disks, d.Disks) &&
		slices.Equal(c.MappedDirs, d.MappedDirs) &&
		c.ExecPath == d.ExecPath &&
		slices.Equal(c.Args, d.Args) &&
		slices.Equal(c.Env, d.Env) &&
		c.WorkdirPath == d.WorkdirPath &&
		slices.Equal(c.Rlimits, d.Rlimits) &&
		c.Network == d.Network &&
		slices.Equal(c.NetworkRules, d.NetworkRules) &&
		slices.Equal(c.PortMap, d.PortMap) &&
		c.AssignedIP == d.AssignedIP &&
		c.AssignedPrefixLen == d.AssignedPrefixLen &&
		c.LocalOnly == d.LocalOnly &&
		slices.Equal(c.DNSServers, d.DNSServers) &&
		c.PacketCapture == d.PacketCapture &&
		c.ConsoleOutput == d.ConsoleOutput &&
		c.LogLevel == d.LogLevel
}

// clone returns a copy of c that shares nothing with it.
func (c Config) clone() Config {
	if c.CPUQuotaUS != nil {
		quota := *c.CPUQuotaUS
		c.CPUQuotaUS = &quota
	}
	c.MappedDirs = slices.Clone(c.MappedDirs)
	c.Args = slices.Clone(c.Args)
	c.Env = slices.Clone(c.Env)
	c.Rlimits = slices.Clone(c.Rlimits)
	c.Disks = slices.Clone(c.Disks)
	c.NetworkRules = slices.Clone(c.NetworkRules)
	c.PortMap = slices.Clone(c.PortMap)
	c.DNSServers = slices.Clone(c.DNSServers)
	return c
}
