package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const qemuProgram = "qemu-system-x86_64"

// workloads are what the program guest does, in its order.
var workloads = []struct{ name, unit string }{
	{"write", "MB/s"},
	{"read", "MB/s"},
	{"random-read", "ops/s"},
	{"unpack", "files/s"},
	{"tree-read", "files/s"},
}

// guestWork is what the guest is told to do.
type guestWork struct {
	image             string // initramfs
	mib, reads, files int
}

// fsMemory is the guest's memory: enough to cache the big file, so that freeing
// pages is not measured.
const fsMemory = "1536M"

// runGuest boots a guest whose directory is served at socket, and calls done for
// each workload. It returns when the guest is off.
func (b *bench) runGuest(ctx context.Context, socket string, work guestWork, done func(name string, amount float64, took time.Duration)) error {
	cmd := exec.Command(qemuProgram,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35,memory-backend=mem", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1",
		"-m", fsMemory, "-object", "memory-backend-memfd,id=mem,share=on,size="+fsMemory,
		"-kernel", b.kernel.ImagePath(), "-initrd", work.image,
		"-append", fmt.Sprintf("console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check BENCH_MIB=%d BENCH_READS=%d BENCH_FILES=%d", work.mib, work.reads, work.files),
		"-serial", "stdio",
		"-chardev", "socket,id=fs,path="+socket,
		"-device", fmt.Sprintf("vhost-user-fs-pci,tag=%s,num-request-queues=%d,queue-size=1024,chardev=fs", fsTag, fsQueue))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }() // when it has not ended by itself
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()

	watch := stopwatch{done: done}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if err := watch.line(lines.Text(), time.Now()); err != nil {
			return err
		}
	}
	if watch.finished < len(workloads) {
		return errors.Join(fmt.Errorf("the guest ended after %d of %d workloads; its console:\n%s", watch.finished, len(workloads), watch.console), context.Cause(ctx))
	}
	return nil
}

// stopwatch reads what the program guest says on its console.
type stopwatch struct {
	done     func(name string, amount float64, took time.Duration)
	began    time.Time
	finished int
	console  string // everything else
}

func (w *stopwatch) line(line string, now time.Time) error {
	_, text, ours := strings.Cut(line, "bench: ") // the kernel may have begun the line
	if !ours {
		w.console += line + "\n"
		return nil
	}
	var verb, name string
	var amount float64
	n, _ := fmt.Sscan(text, &verb, &name, &amount)
	switch {
	case n == 2 && verb == "begin":
		w.began = now
	case n == 3 && verb == "end":
		w.done(name, amount, now.Sub(w.began))
		w.finished++
	default:
		return fmt.Errorf("in the guest: %s", text)
	}
	return nil
}
