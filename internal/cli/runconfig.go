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
		cfg.VCPUCount = f.cpus
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
		"rootfs": &cfg.RootPath, "console-output": &cfg.ConsoleOutput,
	} {
		if set.Changed(flag) {
			check(absolute(field, set.Lookup(flag).Value.String()))
		}
	}
	if set.Changed("rootfs") {
		cfg.RootfsPath = ""
	}
	if set.Changed("kernel") {
		check(f.findKernel(&cfg.KernelPath))
	}
	if set.Changed("overlay") {
		cfg.RootOverlay = f.overlay
	}
	if set.Changed("nested") {
		cfg.Nested = f.nested
	}
	if set.Changed("workdir") {
		cfg.WorkdirPath = f.workdir
	}
	for _, text := range f.volumes {
		pair, err := holt.ParsePathPair(text)
		check(err)
		cfg.MappedDirs = append(cfg.MappedDirs, pair)
	}
	for _, text := range f.rlimits {
		limit, err := holt.ParseRlimit(text)
		check(err)
		cfg.Rlimits = append(cfg.Rlimits, limit)
	}
	env, err := f.environment()
	check(err)
	cfg.Env = append(cfg.Env, env...)
	if len(args) > 0 {
		cfg.ExecPath, cfg.Args = args[0], args[1:]
	} else if cfg.ExecPath == "" {
		check(errors.New("no program to run: give it after the flags, as in `holt run -- echo hello`"))
	}
	if cfg.RootPath == "" && cfg.RootfsPath == "" {
		check(useBaseRoot(&cfg))
	}
	return cfg, errors.Join(errs...)
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
