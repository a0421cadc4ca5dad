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

// workload is something that the program guest does.
type workload struct{ name, unit string }

// guestWork is what the guest is told to do.
type guestWork struct {
	image     string   // initramfs
	settings  []string // KEY=VALUE for the guest's environment
	workloads []workload
}

// attachment is how QEMU gets the device that is measured.
type attachment struct {
	args    []string
	files   []*os.File // inherited, from inheritedFD on
	server  *server    // the device's process; nil if QEMU itself serves it
	release func()     // called when all is over; may be nil
}

// inheritedFD is the first descriptor of an attachment's files.
const inheritedFD = 3

// workMemory is the guest's memory: enough to cache the share's big file, so that
// freeing pages is not measured.
const workMemory = "1536M"

// measured is a workload that the guest has done.
type measured struct {
	name   string
	amount float64       // in the workload's unit, without "per second"
	took   time.Duration // by the host's clock
	cpu    usage         // meanwhile
}

// runGuest boots a guest with the device that is measured, and calls done for
// each workload. After the last one it ends the guest.
func (b *bench) runGuest(ctx context.Context, a attachment, work guestWork, done func(measured)) error {
	cmd := exec.Command(qemuProgram, append([]string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-name", "bench,debug-threads=on",
		"-machine", "q35,memory-backend=mem", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1",
		"-m", workMemory, "-object", "memory-backend-memfd,id=mem,share=on,size=" + workMemory,
		"-kernel", b.kernel.ImagePath(), "-initrd", work.image,
		"-append", "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check clearcpuid=141 " + strings.Join(work.settings, " "),
		"-serial", "stdio",
	}, a.args...)...)
	cmd.ExtraFiles = a.files
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	err = cmd.Start()
	for _, f := range a.files { // a peer sees only then that QEMU has ended
		f.Close()
	}
	if err != nil {
		return err
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()

	watch := stopwatch{done: done, used: func() (usage, error) { return usageOf(cmd.Process.Pid, a.server) }}
	for lines := bufio.NewScanner(out); watch.finished < len(work.workloads) && lines.Scan(); {
		if err := watch.line(lines.Text(), time.Now()); err != nil {
			return err
		}
	}
	if watch.finished < len(work.workloads) {
		return errors.Join(fmt.Errorf("the guest ended after %d of %d workloads; its console:\n%s", watch.finished, len(work.workloads), watch.console), context.Cause(ctx))
	}
	return nil
}

// stopwatch reads what the program guest says on its console.
type stopwatch struct {
	done     func(measured)
	used     func() (usage, error) // until now
	began    time.Time
	before   usage // when it began
	finished int
	console  string // everything else
}

func (w *stopwatch) line(line string, now time.Time) error {
	_, text, ours := strings.Cut(line, "bench: ") // the kernel may have begun the line
	if !ours {
		w.console += line + "\n"
		return nil
	}
	var verb string
	var m measured
	n, _ := fmt.Sscan(text, &verb, &m.name, &m.amount)
	begins, ends := n == 2 && verb == "begin", n == 3 && verb == "end"
	if !begins && !ends {
		return fmt.Errorf("in the guest: %s", text)
	}
	used, err := w.used()
	if err != nil {
		return err
	}
	if begins {
		w.began, w.before = now, used
		return nil
	}
	m.took, m.cpu = now.Sub(w.began), used.minus(w.before)
	w.done(m)
	w.finished++
	return nil
}
