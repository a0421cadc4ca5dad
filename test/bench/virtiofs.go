package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

const (
	fsGoal  = ">= 1.0"
	cpuGoal = "<= 1.0"
)

// virtiofsdPaths are where distributions have the C virtiofsd.
var virtiofsdPaths = []string{"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/libexec/qemu/virtiofsd"}

// virtiofs compares our file server with the C virtiofsd: the same guest on the
// same QEMU, with the directory served by the one or the other.
func (b *bench) virtiofs(ctx context.Context) ([]result, error) {
	ours, peer, err := b.fsSides()
	if err != nil {
		return nil, err
	}
	settings := map[string]int{"MIB": 1024, "OPS": 8192, "FILES": 5000}
	if b.short {
		settings = map[string]int{"MIB": 64, "OPS": 1024, "FILES": 500}
	}
	c := contest{name: "virtiofs", prefix: "fs-", sides: []*side{ours, peer}}
	c.work, err = b.guestWork(ctx, "fs", settings, []workload{
		{"write", "MB/s"},
		{"read", "MB/s"},
		{"random-read", "ops/s"},
		{"unpack", "files/s"},
		{"tree-read", "files/s"},
	})
	if err != nil {
		return nil, err
	}
	if err := c.hold(ctx, b, b.count(5, 2)); err != nil {
		return nil, err
	}
	return append(c.compareRates(fsGoal, ours, peer),
		compare("fs-cpu", "s", cpuGoal, peer.name, ours.whole, peer.whole)), nil
}

// fsSides returns our side and the peer's.
func (b *bench) fsSides() (ours, peer *side, err error) {
	var virtiofsd string
	for _, path := range virtiofsdPaths {
		if _, err := os.Stat(path); err == nil {
			virtiofsd = path
		}
	}
	if virtiofsd == "" {
		return nil, nil, fmt.Errorf("no C virtiofsd at any of %v to compare with", virtiofsdPaths)
	}
	ours = &side{name: "holt", attach: func() (attachment, error) {
		return b.attachShare(func(dir string) (*exec.Cmd, error) { return b.serving(serveDirectory, dir) })
	}}
	peer = &side{name: "virtiofsd (C), with xattrs", attach: func() (attachment, error) {
		return b.attachShare(func(dir string) (*exec.Cmd, error) {
			// With extended attributes, which our shares always have: without them
			// a guest asks twice less for each file that it makes.
			return exec.Command(virtiofsd, "--fd="+strconv.Itoa(inheritedFD), "-o", "source="+dir, "-o", "cache=auto", "-o", "xattr", "-o", "log_level=err"), nil
		})
	}}
	return ours, peer, nil
}

// attachShare has a command serve a new directory.
func (b *bench) attachShare(command func(dir string) (*exec.Cmd, error)) (attachment, error) {
	dir, err := os.MkdirTemp(b.dir, "holt-bench-share-")
	if err != nil {
		return attachment{}, err
	}
	release := func() { os.RemoveAll(dir) }
	cmd, err := command(dir)
	if err != nil {
		release()
		return attachment{}, err
	}
	a, err := b.overSocket(cmd, "-device",
		fmt.Sprintf("vhost-user-fs-pci,tag=%s,num-request-queues=%d,queue-size=1024,chardev=device", fsTag, fsQueues))
	if err != nil {
		release()
	}
	a.release = release
	return a, err
}
