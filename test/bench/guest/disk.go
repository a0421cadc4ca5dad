package main

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"golang.org/x/sys/unix"
)

const (
	diskPath = "/dev/vda"
	depth    = 16 // requests at a time, where there are several
)

// transfer is pread or pwrite.
type transfer func(fd int, p []byte, off int64) (int, error)

// diskWork is work on a disk, without the guest's page cache.
type diskWork struct {
	fd     int
	mib    int // of the disk
	passes int // over the disk, where it goes from start to end
	ops    int // random accesses
}

func newDiskWork() ([]step, error) {
	w := &diskWork{}
	if err := settings(map[string]*int{"MIB": &w.mib, "PASSES": &w.passes, "OPS": &w.ops}); err != nil {
		return nil, err
	}
	if err := mount("devtmpfs", "devtmpfs", "/dev"); err != nil {
		return nil, err
	}
	var err error
	if w.fd, err = unix.Open(diskPath, unix.O_RDWR|unix.O_DIRECT, 0); err != nil {
		return nil, fmt.Errorf("open %s: %w", diskPath, err)
	}
	return []step{
		{"write", nil, func() (float64, error) { return w.sequential(unix.Pwrite) }},
		{"read", nil, func() (float64, error) { return w.sequential(unix.Pread) }},
		{"random-write", nil, func() (float64, error) { return w.random(unix.Pwrite, 1) }},
		{"random-read", nil, func() (float64, error) { return w.random(unix.Pread, 1) }},
		{"random-write-16", nil, func() (float64, error) { return w.random(unix.Pwrite, depth) }},
		{"random-read-16", nil, func() (float64, error) { return w.random(unix.Pread, depth) }},
		{"sync-write", nil, func() (float64, error) { return w.random(writeSync, 1) }},
	}, nil
}

// writeSync is pwrite(2) and a wait until the disk has it for good.
func writeSync(fd int, p []byte, off int64) (int, error) {
	n, err := unix.Pwrite(fd, p, off)
	return n, errors.Join(err, unix.Fdatasync(fd))
}

// sequential goes over the disk, from its start to its end. It returns MB.
func (w *diskWork) sequential(t transfer) (float64, error) {
	block, err := aligned(mib)
	if err != nil {
		return 0, err
	}
	for range w.passes {
		for i := range w.mib {
			if err := whole(t, w.fd, block, int64(i)*mib); err != nil {
				return 0, err
			}
		}
	}
	return float64(w.passes) * float64(w.mib) * mib / 1e6, nil
}

// random accesses single blocks, some at a time. It returns their number.
func (w *diskWork) random(t transfer, atATime int) (float64, error) {
	each := w.ops / atATime
	ended := make(chan error)
	for i := range atATime {
		go func() {
			block, err := aligned(blockSize)
			random := rand.New(rand.NewPCG(1, uint64(i))) // the same blocks in every run
			for range each {
				if err != nil {
					break
				}
				err = whole(t, w.fd, block, random.Int64N(int64(w.mib)*mib/blockSize)*blockSize)
			}
			ended <- err
		}()
	}
	var errs []error
	for range atATime {
		errs = append(errs, <-ended)
	}
	return float64(each * atATime), errors.Join(errs...)
}

// whole is t, with an error if it did less than all.
func whole(t transfer, fd int, p []byte, off int64) error {
	n, err := t(fd, p, off)
	if err == nil && n != len(p) {
		err = fmt.Errorf("%d bytes at %d", n, off)
	}
	return err
}
