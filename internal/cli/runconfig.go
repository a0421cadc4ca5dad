package cli

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/holtvm/holt"
)

// config merges --config and the other flags, which win, and returns all that
// is wrong with the flags at once. The result is checked by holt.New.
func (f *runFlags) config(set *pflag.FlagSet, args []string) (holt.Config, error) {
	cfg := holt.DefaultConfig()
	if f.configFile != "" {
		var err error
		if cfg, err = holt.LoadConfig(f.configFile); err != nil {
			return cfg, err
		}
	}
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if set.Changed("cpus") {
		check(parseCPUs(f.cpus, &cfg))
	}
	if set.Changed("cpu-quota") {
		cfg.CPUQuotaUS = &f.cpuQuota
	}
	if set.Changed("memory") {
		mb, err := parseMemory(f.memory)
		check(err)
		cfg.MemoryMB = mb
	}
	if set.Changed("log-level") {
		check(cfg.LogLevel.UnmarshalText([]byte(f.logLevel)))
	}
	for flag, field := range map[string]*string{
		"console-output": &cfg.ConsoleOutput, "pcap": &cfg.PacketCapture,
	} {
		if set.Changed(flag) {
			check(absolute(field, set.Lookup(flag).Value.String()))
		}
	}
	check(f.root(set, &cfg))
	check(f.networking(set, &cfg))
	if set.Changed("kernel") {
		check(f.findKernel(&cfg.KernelPath))
	}
	if set.Changed("overlay") {
		cfg.RootOverlay = f.overlay
	}
	if set.Changed("nested") {
		cfg.Nested = f.nested
	}
	if set.Changed("cpu-template") {
		cfg.CPUTemplate = f.cpuTemplate
	}
	if set.Changed("workdir") {
		cfg.WorkdirPath = f.workdir
	}
	check(appendParsed(&cfg.MappedDirs, f.volumes, holt.ParsePathPair))
	check(appendParsed(&cfg.Rlimits, f.rlimits, holt.ParseRlimit))
	check(appendParsed(&cfg.Disks, f.disks, holt.ParseDisk))
	env, err := f.environment()
	check(err)
	cfg.Env = append(cfg.Env, env...)
	if len(args) > 0 {
		cfg.ExecPath, cfg.Args = args[0], args[1:]
	} else if cfg.ExecPath == "" {
		check(errors.New("no program to run: give it after the flags, as in `holt run -- echo hello`"))
	}
	if cfg.RootPath == "" && cfg.RootfsPath == "" && cfg.RootDisk == (holt.Disk{}) {
		check(useBaseRoot(&cfg))
	}
	return cfg, errors.Join(errs...)
}

// root sets the guest's root from --rootfs and --root-disk, in place of what the
// configuration file says.
func (f *runFlags) root(set *pflag.FlagSet, cfg *holt.Config) error {
	if !set.Changed("rootfs") && !set.Changed("root-disk") {
		return nil
	}
	cfg.RootPath, cfg.RootfsPath, cfg.RootDisk = "", "", holt.Disk{}
	var errs []error
	if f.rootfs != "" {
		field := &cfg.RootPath
		if info, err := os.Stat(f.rootfs); err == nil && info.Mode().IsRegular() {
			field = &cfg.RootfsPath
		}
		errs = append(errs, absolute(field, f.rootfs))
	}
	if f.rootDisk != "" {
		errs = append(errs, cfg.RootDisk.UnmarshalText([]byte(f.rootDisk)))
	}
	return errors.Join(errs...)
}

// networking sets the guest's network from the flags about it.
func (f *runFlags) networking(set *pflag.FlagSet, cfg *holt.Config) error {
	var mode, ip error
	if set.Changed("network") {
		mode = cfg.Network.UnmarshalText([]byte(f.network))
		cfg.LocalOnly = false
	}
	if set.Changed("ip") {
		cfg.AssignedIP, cfg.AssignedPrefixLen, ip = holt.ParseAssignedIP(f.ip)
	}
	return errors.Join(
		mode,
		appendParsed(&cfg.NetworkRules, f.rules, holt.ParseNetworkRule),
		appendParsed(&cfg.PortMap, f.ports, holt.ParsePortPair),
		appendParsed(&cfg.DNSServers, f.dns, holt.ParseDNSServer),
		ip,
	)
}

// appendParsed appends the values of texts, the values of one flag, to dst.
func appendParsed[T any](dst *[]T, texts []string, parse func(string) (T, error)) error {
	var errs []error
	for _, text := range texts {
		value, err := parse(text)
		errs = append(errs, err)
		*dst = append(*dst, value)
	}
	return errors.Join(errs...)
}

func absolute(field *string, path string) (err error) {
	if path == "" {
		*field = ""
		return nil
	}
	*field, err = filepath.Abs(path)
	return err
}

// environment reads --env-file, then --env, so that the latter wins.
func (f *runFlags) environment() ([]holt.EnvPair, error) {
	var env []holt.EnvPair
	var errs []error
	add := func(where, text string) {
		if !strings.Contains(text, "=") {
			value, ok := os.LookupEnv(text)
			if !ok {
				return // docker leaves out what the host does not have
			}
			text += "=" + value
		}
		pair, err := holt.ParseEnvPair(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
			return
		}
		env = append(env, pair)
	}
	if f.envFile != "" {
		file, err := os.Open(f.envFile)
		if err != nil {
			return nil, fmt.Errorf("--env-file: %w", err)
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			if line := strings.TrimLeft(lines.Text(), " \t"); line != "" && line[0] != '#' {
				add(fmt.Sprintf("%s:%d", f.envFile, n), line)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("--env-file: read %s: %w", f.envFile, err)
		}
	}
	for _, text := range f.env {
		add("--env", text)
	}
	return env, errors.Join(errs...)
}

// parseCPUs reads a number of CPUs. One with a fraction is the next whole number of
// them, and a limit to their time.
func parseCPUs(text string, cfg *holt.Config) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n >= 0 && n <= math.MaxUint8) {
		return fmt.Errorf("--cpus: %q: must be a number such as 2 or 0.5, at most %d", text, math.MaxUint8)
	}
	cfg.VCPUCount = uint8(math.Ceil(n))
	cfg.CPUQuotaUS = nil
	if n != math.Trunc(n) {
		quota := uint64(math.Round(n * holt.CPUPeriodUS))
		cfg.CPUQuotaUS = &quota
	}
	return nil
}

// parseMemory reads a size in MiB: 512, 512M, 2G.
func parseMemory(text string) (uint32, error) {
	digits, unit := text, uint64(1)
	switch strings.ToUpper(text[max(len(text)-1, 0):]) {
	case "M":
		digits = text[:len(text)-1]
	case "G":
		digits, unit = text[:len(text)-1], 1024
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n*unit > math.MaxUint32 {
		return 0, fmt.Errorf("--memory: %q: must be a size such as 512, 512M or 2G", text)
	}
	return uint32(n * unit), nil
}
