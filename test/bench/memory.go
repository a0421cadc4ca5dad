package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/holtvm/holt/internal/hypervisor"
)

const (
	memoryGoal = "<= 1.0"
	// settle is how long an idle guest runs before its memory is looked at.
	settle = 2 * time.Second
)

// memory compares what our processes of a VM take, beyond the guest's memory,
// with what QEMU does.
func (b *bench) memory(ctx context.Context) ([]result, error) {
	root, err := b.helloRoot()
	if err != nil {
		return nil, err
	}
	var ours, theirs []float64
	n := b.count(5, 1)
	for i := range n {
		holt, qemu, err := b.idleGuest(ctx, root)
		if err != nil {
			return nil, err
		}
		ours, theirs = append(ours, holt), append(theirs, qemu)
		progress("memory %d/%d  holt %.1f MiB  qemu %.1f MiB", i+1, n, holt, qemu)
	}
	return []result{compare("memory", "MiB", memoryGoal, "the QEMU process of the same VM, with its translated code", ours, theirs)}, nil
}

// idleGuest runs a guest that does nothing, and returns the proportional set
// size of the client and the monitor together, and of QEMU, in MiB.
func (b *bench) idleGuest(ctx context.Context, root string) (holt, qemu float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	cmd := exec.Command(b.holt, "run", "--backend", hypervisor.NameQEMU, "--rootfs", root, "-m", "256", "--", "/hello", "idle")
	err = greeted(ctx, cmd, func(io.Reader) (err error) {
		time.Sleep(settle)
		holt, qemu, err = treeMemory(cmd.Process.Pid)
		return errors.Join(err, cmd.Process.Signal(syscall.SIGTERM))
	})
	return holt, qemu, err
}

// treeMemory adds up the memory of a process and its descendants.
func treeMemory(pid int) (holt, qemu float64, err error) {
	use, err := memoryOf(pid, 0)
	if err != nil {
		return 0, 0, err
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return 0, 0, err
	}
	if strings.HasPrefix(string(name), "qemu-") {
		qemu = use.pss
	} else {
		holt = use.pss
	}
	pids, err := children(pid)
	if err != nil {
		return 0, 0, err
	}
	for _, child := range pids {
		h, q, err := treeMemory(child)
		if err != nil {
			return 0, 0, err
		}
		holt, qemu = holt+h, qemu+q
	}
	return holt, qemu, nil
}
