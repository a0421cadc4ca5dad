package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holtvm/holt"
)

// check says which flags have no meaning together, or without a CMD.
func (f *restoreFlags) check(command bool) error {
	p, errs := f.program, []error(nil)
	if !command && (p.workdir != "" || p.user != "" || p.envFile != "" || len(p.env)+len(p.rlimits) > 0) {
		errs = append(errs, errors.New("the saved program goes on as it is: its environment, directory, user and limits cannot be changed; only a CMD can have others"))
	}
	if !command && p.detach && (p.interactive || p.tty) {
		errs = append(errs, errors.New("-i and -t are for a CMD, or a program that this command waits for: leave them or -d out"))
	}
	if f.record && (!command || p.detach) {
		errs = append(errs, errors.New("--record notes what a CMD has used when it ends: name one, and leave -d out"))
	}
	if f.timeout < 0 {
		errs = append(errs, fmt.Errorf("--timeout %v: must not be negative", f.timeout))
	}
	if f.timeout > 0 && p.detach {
		errs = append(errs, errors.New("--timeout ends a VM that this command waits for: leave it or -d out"))
	}
	return errors.Join(errs...)
}

// options is what the flags say of the VM.
func (f *restoreFlags) options() ([]holt.Option, error) {
	opts := []holt.Option{withSelf(), holt.WithName(f.name)}
	if f.prefetch {
		opts = append(opts, holt.Prefetch())
	}
	ports, err := replacePorts(f.ports)
	opts = append(opts, ports...)
	err = errors.Join(appendParsed(&opts, f.volumes, replaceDir), appendParsed(&opts, f.disks, replaceDisk), err)
	return opts, err
}

// replaceDir reads HOST:GUEST.
func replaceDir(text string) (holt.Option, error) {
	if host, ok := strings.CutSuffix(text, ":/"); ok && host != "" && !strings.Contains(host, ":") {
		abs, err := filepath.Abs(host)
		return holt.ReplaceDir(abs, "/"), err
	}
	p, err := holt.ParsePathPair(text)
	if err == nil && p.ReadOnly {
		err = fmt.Errorf("--volume %q: whether the guest may write there was decided for the saved VM: leave :ro out", text)
	}
	return holt.ReplaceDir(p.Host, p.Guest), err
}

// replaceDisk reads NAME=FILE[:ro].
func replaceDisk(text string) (holt.Option, error) {
	name, file, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return nil, fmt.Errorf("--disk %q: must be name=file[:ro], with a name such as root or disk0", text)
	}
	disk, err := holt.ParseDisk(file)
	return holt.ReplaceDisk(name, disk), err
}

// replacePorts reads the values of --publish of a VM that goes on from a saved one.
// Without any, nothing is replaced.
func replacePorts(texts []string) ([]holt.Option, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	if slices.Contains(texts, "none") {
		if len(texts) > 1 {
			return nil, errors.New("--publish none publishes nothing: leave it or the others out")
		}
		return []holt.Option{holt.ReplacePorts()}, nil
	}
	var ports []holt.PortPair
	err := appendParsed(&ports, texts, holt.ParsePortPair)
	return []holt.Option{holt.ReplacePorts(ports...)}, err
}
