package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/holtvm/holt/internal/vmtest"
)

const (
	// idleLimit is the goal for the monitor of an idle guest, in % of a core.
	idleLimit = 1.0
	// idleMargin is by how much the time that the host looks at is shorter than the
	// guest's at each end, so that the guest is idle all through it.
	idleMargin = time.Second
)

// The figures of an idle guest.
const (
	idleCPU     = "cpu"     // of the monitor, % of a core
	idleClient  = "client"  // the same of the client, where there is one
	idleWakeups = "wakeups" // of the monitor's threads
	idleTimer   = "timer"   // interrupts in the guest
	idleDevices = "devices" // interrupts in the guest
)

// kvmIdle looks at what an idle guest costs: the processor time of its monitor, and
// how often host and guest wake up.
func (b *bench) kvmIdle(ctx context.Context) ([]result, error) {
	w, err := b.work(b.count(3, 1), "kvm-idle")
	if err != nil {
		return nil, err
	}
	w.Seconds, w.Cold = 20, b.short
	if b.short {
		w.Seconds = 5
	}
	rounds, err := b.runRounds(ctx, w)
	if err != nil {
		return nil, err
	}
	return rounds.idleResults(), nil
}

func (rounds roundList) idleResults() []result {
	results := []result{
		compare("kvm-idle-limit", "% of a core", "<= 1.0", "what a monitor may take", rounds.series(holtRun, idleCPU), []float64{idleLimit}),
	}
	for _, pair := range []struct{ name, ours string }{{"kvm-idle", holtRun}, {"kvm-idle-machine", ourMachine}} {
		results = append(results,
			rounds.compare(pair.name+"-cpu", "% of a core", noGoal, pair.ours, qemuMachine, idleCPU),
			rounds.compare(pair.name+"-wakeups", "/s", noGoal, pair.ours, qemuMachine, idleWakeups),
			rounds.compare(pair.name+"-guest-timer", "/s", noGoal, pair.ours, qemuMachine, idleTimer),
			rounds.compare(pair.name+"-guest-devices", "/s", noGoal, pair.ours, qemuMachine, idleDevices))
	}
	return append(results,
		compare("kvm-idle-client", "% of a core", noGoal, "what a monitor may take", rounds.series(holtRun, idleClient), []float64{idleLimit}))
}

// idle measures a side while its guest does nothing.
func (t *turns) idle(ctx context.Context, c *kvmSide) (f figures, err error) {
	if c.name == holtOnQEMU {
		return nil, nil
	}
	cmd := c.command(strconv.Itoa(t.Seconds))
	err = greeted(ctx, cmd, func(rest io.Reader) (err error) {
		if f, err = t.idleFigures(c, cmd, rest); err == nil {
			return cmd.Process.Signal(c.end)
		}
		return errors.Join(err, cmd.Process.Kill())
	})
	return f, err
}

func (t *turns) idleFigures(c *kvmSide, cmd *exec.Cmd, rest io.Reader) (figures, error) {
	time.Sleep(settle + idleMargin)
	first, err := lookAt(c, cmd)
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Duration(t.Seconds)*time.Second - 2*idleMargin)
	last, err := lookAt(c, cmd)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(rest)
	before, err := readInterrupts(lines)
	if err != nil {
		return nil, err
	}
	after, err := readInterrupts(lines)
	if err != nil {
		return nil, err
	}
	s := last.when.Sub(first.when).Seconds()
	f := figures{
		idleCPU:     100 * (last.monitor - first.monitor).Seconds() / s,
		idleWakeups: float64(last.wakeups-first.wakeups) / s,
		idleTimer:   (after.timer - before.timer) / float64(t.Seconds),
		idleDevices: (after.devices - before.devices) / float64(t.Seconds),
	}
	if c.name == holtRun {
		f[idleClient] = 100 * (last.client - first.client).Seconds() / s
	}
	return f, nil
}

// look is what a side has used until a moment.
type look struct {
	when            time.Time
	monitor, client time.Duration
	wakeups         int // of the monitor
}

func lookAt(c *kvmSide, cmd *exec.Cmd) (l look, err error) {
	monitor := cmd.Process.Pid
	if c.name == holtRun {
		if l.client, err = vmtest.ProcessTime(monitor); err != nil {
			return l, err
		}
		if monitor, err = monitorOf(monitor); err != nil {
			return l, err
		}
	}
	l.when = time.Now()
	if l.monitor, err = vmtest.ProcessTime(monitor); err != nil {
		return l, err
	}
	l.wakeups, err = switches(monitor)
	return l, err
}

// interrupts are how many a guest with one vCPU had.
type interrupts struct{ timer, devices float64 }

// readInterrupts reads the next table that the program hello prints: lines of the
// form "name: count what", a device's with a number for its name
// (proc_interrupts(5)), and an empty line.
func readInterrupts(lines *bufio.Scanner) (i interrupts, err error) {
	some := false
	for lines.Scan() {
		name, rest, ok := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		if !ok {
			if some && name == "" {
				return i, nil
			}
			continue // the head, or the kernel's
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		count, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			continue
		}
		some = true
		if _, err := strconv.Atoi(name); err == nil {
			i.devices += count
		} else if name == "LOC" {
			i.timer += count
		}
	}
	return i, errors.Join(lines.Err(), fmt.Errorf("no table of the guest's interrupts"))
}
