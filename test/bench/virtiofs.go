package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/holtvm/holt/internal/kernel"
)

const (
	fsTimeout = 10 * time.Minute // of one guest with all its workloads
	fsGoal    = ">= 1.0"
	cpuGoal   = "<= 1.0"
	peerName  = "virtiofsd (C), with xattrs"
)

// virtiofsdPaths are where distributions have the C virtiofsd.
var virtiofsdPaths = []string{"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/libexec/qemu/virtiofsd"}

// fsSide is one of the two file servers.
type fsSide struct {
	name    string
	command func(dir string) *exec.Cmd
	rates   map[string][]float64 // per workload, units per second
	cpu     []float64            // processor time of the server, s
}

// virtiofs compares our file server with the C virtiofsd: the same guest on the
// same QEMU, with the directory served by the one or the other.
func (b *bench) virtiofs(ctx context.Context) ([]result, error) {
	sides, err := b.fsSides()
	if err != nil {
		return nil, err
	}
	work := guestWork{mib: 1024, reads: 8192, files: 5000}
	if b.short {
		work = guestWork{mib: 64, reads: 1024, files: 500}
	}
	if work.image, err = b.fsImage(ctx); err != nil {
		return nil, err
	}
	n := b.count(5, 2)
	for i := range n {
		for _, s := range sides {
			if err := b.fsRun(ctx, s, work); err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			progress("virtiofs %d/%d  %-9s  %s", i+1, n, s.name, s.last())
		}
	}
	ours, peer := sides[0], sides[1]
	var results []result
	for _, w := range workloads {
		results = append(results, compare("fs-"+w.name, w.unit, fsGoal, peerName, ours.rates[w.name], peer.rates[w.name]))
	}
	return append(results, compare("fs-cpu", "s", cpuGoal, peerName, ours.cpu, peer.cpu)), nil
}

// fsSides returns our side and the peer's.
func (b *bench) fsSides() ([]*fsSide, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var virtiofsd string
	for _, path := range virtiofsdPaths {
		if _, err := os.Stat(path); err == nil {
			virtiofsd = path
		}
	}
	if virtiofsd == "" {
		return nil, fmt.Errorf("no C virtiofsd at any of %v to compare with", virtiofsdPaths)
	}
	ours := &fsSide{name: "holt", command: func(dir string) *exec.Cmd {
		cmd := exec.Command(self, serveCommand, dir)
		if b.profile != "" {
			cmd.Env = append(os.Environ(), profileVariable+"="+b.profile)
		}
		return cmd
	}}
	peer := &fsSide{name: "virtiofsd", command: func(dir string) *exec.Cmd {
		// With extended attributes, which our shares always have: without them
		// a guest asks twice less for each file that it makes.
		return exec.Command(virtiofsd, "--fd="+strconv.Itoa(listenFD), "-o", "source="+dir, "-o", "cache=auto", "-o", "xattr", "-o", "log_level=err")
	}}
	for _, s := range []*fsSide{ours, peer} {
		s.rates = map[string][]float64{}
	}
	return []*fsSide{ours, peer}, nil
}

// last describes the last run.
func (s *fsSide) last() (text string) {
	for _, w := range workloads {
		list := s.rates[w.name]
		text += fmt.Sprintf("%s %.0f %s  ", w.name, list[len(list)-1], w.unit)
	}
	return text + fmt.Sprintf("cpu %.2f s", s.cpu[len(s.cpu)-1])
}

// fsImage makes the guest's initramfs.
func (b *bench) fsImage(ctx context.Context) (string, error) {
	path, err := b.build(ctx, "guest")
	if err != nil {
		return "", err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return kernel.Initramfs(b.kernel, kernel.Bytes(program), b.temp)
}

// fsRun boots a guest that does all workloads on a new directory.
func (b *bench) fsRun(ctx context.Context, s *fsSide, work guestWork) error {
	ctx, cancel := context.WithTimeout(ctx, fsTimeout)
	defer cancel()
	dir, err := os.MkdirTemp(b.dir, "holt-bench-share-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(b.temp, "fs.sock")
	server, err := startServer(s.command(dir), socket)
	if err != nil {
		return err
	}
	err = b.runGuest(ctx, socket, work, func(name string, amount float64, took time.Duration) {
		s.rates[name] = append(s.rates[name], amount/took.Seconds())
	})
	cpu, serr := server.finish()
	if err == nil {
		err = serr
	}
	s.cpu = append(s.cpu, math.Round(cpu.Seconds()*1e3)/1e3)
	return err
}
