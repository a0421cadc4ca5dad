package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/paths"
)

// bench is what the benchmarks work with.
type bench struct {
	options
	temp   string // removed at the end
	dirs   paths.Dirs
	kernel kernel.Kernel
	hello  string // path of the program hello
	kvm    hypervisor.Probe
}

func prepare(ctx context.Context, o options) (_ *bench, err error) {
	b := &bench{options: o}
	if b.holt, err = exec.LookPath(o.holt); err != nil {
		return nil, fmt.Errorf("%w (run `make build`)", err)
	}
	if b.holt, err = filepath.Abs(b.holt); err != nil {
		return nil, err
	}
	if b.dirs, err = paths.Default(); err != nil {
		return nil, err
	}
	if b.kernel, err = kernel.Open(b.dirs).Default(); err != nil {
		return nil, err
	}
	if b.temp, err = os.MkdirTemp("", "holt-bench-"); err != nil {
		return nil, err
	}
	if b.dir == "" {
		b.dir = shareParent()
	}
	if b.hello, err = b.build(ctx, "hello"); err != nil {
		b.cleanUp()
		return nil, err
	}
	b.kvm = hypervisor.ProbeKVM(ctx, b.dirs.Cache)
	load, _ := os.ReadFile("/proc/loadavg")
	progress("kernel %s, directories and disks in %s, load %s", b.kernel.Name, b.dir, bytes.TrimSpace(load))
	return b, nil
}

func (b *bench) cleanUp() { os.RemoveAll(b.temp) }

// count is how many times each side runs.
func (b *bench) count(long, short int) int {
	switch {
	case b.runs > 0:
		return b.runs
	case b.short:
		return short
	}
	return long
}

// build compiles a program of this directory for the guest.
func (b *bench) build(ctx context.Context, name string) (string, error) {
	path := filepath.Join(b.temp, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w",
		"-o", path, "github.com/holtvm/holt/test/bench/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// shareParent is a file system in memory, where the servers are measured and not
// the disk, or the directory for temporary files if there is too little room.
func shareParent() string {
	const memory, enough = "/dev/shm", 4 << 30 // bytes
	var st unix.Statfs_t
	if err := unix.Statfs(memory, &st); err != nil || st.Bavail*uint64(st.Bsize) < enough {
		return os.TempDir()
	}
	return memory
}
