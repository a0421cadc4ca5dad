package holt

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// Builder makes a [Config] step by step. Each method returns the Builder, so
// that calls chain; a bad argument is remembered and reported, with all others,
// by [Builder.Config].
//
// A root (RootPath, RootfsPath or RootDisk), RAMMiB and ExecPath are required. Methods
// that take one value replace what an earlier call set; methods that take a
// list (MappedDirs, Disks, PortMap, Allow, Deny, DNSServers, Rlimits, Args and
// Env) append to it.
//
// A Builder must not be used by several goroutines at once. It can go on after
// Config: what was returned does not change.
type Builder struct {
	config Config
	ramSet bool
	errs   []error // arguments that did not parse
}

// NewBuilder returns a Builder that starts from [DefaultConfig].
func NewBuilder() *Builder {
	return &Builder{config: DefaultConfig()}
}

// LogLevel sets how much Holt logs about the microVM. The default is LogOff.
func (b *Builder) LogLevel(level LogLevel) *Builder {
	b.config.LogLevel = level
	return b
}

// KernelPath sets the guest kernel on the host, a bzImage or an ELF vmlinux,
// in place of Holt's default kernel.
func (b *Builder) KernelPath(path string) *Builder {
	b.config.KernelPath = path
	return b
}

// RootPath sets the host directory that becomes the guest's /. This, RootfsPath
// or RootDisk is required.
func (b *Builder) RootPath(path string) *Builder {
	b.config.RootPath = path
	return b
}

// RootfsPath sets the gzip-compressed cpio archive on the host that becomes the
// guest's /, in guest memory.
func (b *Builder) RootfsPath(path string) *Builder {
	b.config.RootfsPath = path
	return b
}

// RootDisk sets the disk whose file system becomes the guest's /, in the form
// that [ParseDisk] reads: "file[:ro]".
func (b *Builder) RootDisk(disk string) *Builder {
	d, err := parseDisk(disk)
	if err != nil {
		b.errs = append(b.errs, badText("root_disk", disk, err))
	}
	b.config.RootDisk = d
	return b
}

// Disks adds disks, each in the form that [ParseDisk] reads: "file[:ro]".
func (b *Builder) Disks(disks ...string) *Builder {
	appendParsed(b, "disks", &b.config.Disks, disks, parseDisk)
	return b
}

// RootOverlay sets whether writes to / stay in guest memory and are lost when
// the guest ends, instead of changing the directory of RootPath or the disk of
// RootDisk.
func (b *Builder) RootOverlay(overlay bool) *Builder {
	b.config.RootOverlay = overlay
	return b
}

// NumVCPUs sets the number of virtual CPUs, at least 1. The default is 1.
func (b *Builder) NumVCPUs(n uint8) *Builder {
	b.config.VCPUCount = n
	return b
}

// RAMMiB sets the guest memory in MiB, at least MinMemoryMB. It is required.
func (b *Builder) RAMMiB(mib uint32) *Builder {
	b.config.MemoryMB = mib
	b.ramSet = true
	return b
}

// CPUQuota sets the CPU time in microseconds that all vCPUs together may use in
// each period of 100 ms, at least MinCPUQuotaUS. The default is no limit.
func (b *Builder) CPUQuota(us uint64) *Builder {
	b.config.CPUQuotaUS = &us
	return b
}

// CPUTemplate bounds the processor features that the guest is shown: see
// [Config.CPUTemplate].
func (b *Builder) CPUTemplate(name string) *Builder {
	b.config.CPUTemplate = name
	return b
}

// Nested sets whether the guest has a /dev/kvm, to run virtual machines itself.
func (b *Builder) Nested(nested bool) *Builder {
	b.config.Nested = nested
	return b
}

// MappedDirs adds host directories that the guest sees, each in the form that
// [ParsePathPair] reads: "host:guest[:ro]" or "path". The host side must exist.
func (b *Builder) MappedDirs(pairs ...string) *Builder {
	appendParsed(b, "mapped_dirs", &b.config.MappedDirs, pairs, parsePathPair)
	return b
}

// PortMap adds guest ports to publish, each in the form that [ParsePortPair]
// reads: "[ip:]host:guest[/tcp|/udp]" or "port".
func (b *Builder) PortMap(pairs ...string) *Builder {
	appendParsed(b, "port_map", &b.config.PortMap, pairs, parsePortPair)
	return b
}

// Rlimits adds resource limits of the program, each in the form that
// [ParseRlimit] reads: "RLIMIT_NAME=soft:hard" or "RLIMIT_NAME=value".
func (b *Builder) Rlimits(limits ...string) *Builder {
	appendParsed(b, "rlimits", &b.config.Rlimits, limits, parseRlimit)
	return b
}

// WorkdirPath sets the absolute guest path that the program starts in. The
// default is /.
func (b *Builder) WorkdirPath(path string) *Builder {
	b.config.WorkdirPath = path
	return b
}

// ExecPath sets the program to run, which is also its argv[0]: an absolute
// guest path, a bare name to look up in the guest's PATH, or a relative path
// with a slash, resolved against the working directory in the guest. It is
// required.
func (b *Builder) ExecPath(path string) *Builder {
	b.config.ExecPath = path
	return b
}

// Args adds arguments of the program; argv[0] is not among them.
func (b *Builder) Args(args ...string) *Builder {
	b.config.Args = append(b.config.Args, args...)
	return b
}

// Env adds environment variables of the program, each in the form that
// [ParseEnvPair] reads: "KEY=VALUE". The last value of a key wins.
func (b *Builder) Env(pairs ...string) *Builder {
	appendParsed(b, "env", &b.config.Env, pairs, parseEnvPair)
	return b
}

// ConsoleOutput sets the host file that is created or truncated and gets the
// guest console and the program's standard output and error.
func (b *Builder) ConsoleOutput(path string) *Builder {
	b.config.ConsoleOutput = path
	return b
}

// Network sets how far the guest's network reaches. The default is
// NetworkPublic.
func (b *Builder) Network(mode NetworkMode) *Builder {
	b.config.Network = mode
	return b
}

// Allow adds a rule for each target that lets the guest reach it, behind the
// rules that there are; see [NetworkRule] for the form of a target.
func (b *Builder) Allow(targets ...string) *Builder {
	appendParsed(b, "network_rules", &b.config.NetworkRules, prefixed("allow ", targets), parseNetworkRule)
	return b
}

// Deny adds a rule for each target that keeps the guest from it, behind the
// rules that there are; see [NetworkRule] for the form of a target.
func (b *Builder) Deny(targets ...string) *Builder {
	appendParsed(b, "network_rules", &b.config.NetworkRules, prefixed("deny ", targets), parseNetworkRule)
	return b
}

func prefixed(prefix string, texts []string) []string {
	out := slices.Clone(texts)
	for i := range out {
		out[i] = prefix + out[i]
	}
	return out
}

// AssignedIP sets the guest's IPv4 address, such as "10.0.2.15", or with the
// length of its network's prefix "10.0.2.15/16".
func (b *Builder) AssignedIP(ip string) *Builder {
	addr, bits, err := parseAssigned(ip)
	if err != nil {
		b.errs = append(b.errs, badText("assigned_ip", ip, err))
	}
	b.config.AssignedIP, b.config.AssignedPrefixLen = addr, bits
	return b
}

// DNSServers adds servers, "address[:port]", that are asked for the names that
// the guest looks up, in place of the host's own resolver.
func (b *Builder) DNSServers(servers ...string) *Builder {
	appendParsed(b, "dns_servers", &b.config.DNSServers, servers, parseDNSServer)
	return b
}

// PacketCapture sets the host file that is created or truncated and gets every
// frame of the guest's network, as pcap.
func (b *Builder) PacketCapture(path string) *Builder {
	b.config.PacketCapture = path
	return b
}

// LocalOnly sets whether published ports bind the loopback only and the guest
// is kept from the world beyond the host.
func (b *Builder) LocalOnly(local bool) *Builder {
	b.config.LocalOnly = local
	return b
}

// Config returns the finished configuration, with absolute host paths and
// checked by [Config.Validate]. The error joins every bad argument and every
// problem of the whole, each a [*FieldError]; the Config is then the zero one.
func (b *Builder) Config() (Config, error) {
	errs := slices.Clone(b.errs)
	if !b.ramSet {
		errs = append(errs, &FieldError{Field: "memory_mb", Problem: "must be set: call RAMMiB"})
	}
	// Before the paths are resolved, so that the errors show them as given.
	errs = append(errs, b.config.problems()...)
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	return b.config.absolute()
}

// absolute returns a copy of c in which every host path is absolute, so that it
// means the same in a process with another working directory.
func (c Config) absolute() (Config, error) {
	c = c.clone()
	paths := []*string{&c.KernelPath, &c.RootfsPath, &c.RootPath, &c.RootDisk.Path, &c.PacketCapture, &c.ConsoleOutput}
	for i := range c.MappedDirs {
		paths = append(paths, &c.MappedDirs[i].Host)
	}
	for i := range c.Disks {
		paths = append(paths, &c.Disks[i].Path)
	}
	for _, path := range paths {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return Config{}, fmt.Errorf("resolve host path %q: %w", *path, err)
		}
		*path = abs
	}
	return c, nil
}

// appendParsed appends the values of texts to dst, and the errors to b.
func appendParsed[T any](b *Builder, field string, dst *[]T, texts []string, parse func(string) (T, error)) {
	for _, s := range texts {
		value, err := parse(s)
		if err != nil {
			b.errs = append(b.errs, badText(field, s, err))
			continue
		}
		*dst = append(*dst, value)
	}
}
