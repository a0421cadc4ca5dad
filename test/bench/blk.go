package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const blkGoal = ">= 0.9"

// disk compares our disk with QEMU's own: the same guest on the same QEMU with the
// same image.
func (b *bench) disk(ctx context.Context) ([]result, error) {
	mib, passes, ops := 1024, 4, 20000
	if b.short {
		mib, passes, ops = 64, 1, 1000
	}
	image, err := b.diskImage(int64(mib) << 20)
	if err != nil {
		return nil, err
	}
	defer os.Remove(image)
	ours := &side{name: "holt", attach: func() (attachment, error) {
		cmd, err := b.serving(serveDisk, image)
		if err != nil {
			return attachment{}, err
		}
		return b.overSocket(cmd, "-device", "vhost-user-blk-pci,num-queues=1,queue-size=256,config-wce=off,chardev=device")
	}}
	peer := &side{name: "QEMU's own virtio-blk", attach: func() (attachment, error) {
		return attachment{args: []string{
			"-drive", "file=" + image + ",format=raw,if=none,id=disk,cache=writeback,aio=threads",
			"-device", "virtio-blk-pci,drive=disk",
		}}, nil
	}}
	c := contest{name: "blk", prefix: "blk-", sides: []*side{ours, peer}}
	c.work, err = b.guestWork(ctx, "blk", map[string]int{"MIB": mib, "PASSES": passes, "OPS": ops}, []workload{
		{"write", "MB/s"},
		{"read", "MB/s"},
		{"random-write", "ops/s"},
		{"random-read", "ops/s"},
		{"random-write-16", "ops/s"},
		{"random-read-16", "ops/s"},
		{"sync-write", "ops/s"},
	}, "blk")
	if err != nil {
		return nil, err
	}
	if err := c.hold(ctx, b, b.count(5, 1)); err != nil {
		return nil, err
	}
	return append(c.compareRates(blkGoal, ours, peer), c.compareCPU(ours, peer)...), nil
}

// diskImage makes an image whose blocks all exist, and returns its path.
func (b *bench) diskImage(size int64) (string, error) {
	f, err := os.CreateTemp(b.dir, "holt-bench-disk-")
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("make a disk image of %d bytes: %w", size, err)
	}
	return f.Name(), nil
}
