package agent

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// signalGrace is how long programs may take to end after a signal to pid 1.
const signalGrace = 10 * time.Second

// watchSignals shuts the guest down when somebody in it asks pid 1 to, or when
// the kernel does for ctrl-alt-del.
func (a *agent) watchSignals() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGINT, unix.SIGTERM, unix.SIGPWR)
	go a.guard(func() {
		for range c {
			a.shutdown(signalGrace)
		}
	})()
}

// shutdown asks every process to end, and ends what is left after the grace.
// The main program's end then powers off, or that of all others if there is none.
func (a *agent) shutdown(grace time.Duration) {
	a.stopping.Store(true)
	killAll(unix.SIGTERM)
	if a.sessions.running() == 0 {
		a.main.cancel()
	}
	time.AfterFunc(grace, a.guard(func() {
		killAll(unix.SIGKILL)
		a.main.cancel()
	}))
}

// killAll signals every process of the guest but this one. Outside of a guest,
// where a test may run this, it does nothing.
func killAll(sig unix.Signal) {
	if os.Getpid() != 1 {
		return
	}
	_ = unix.Kill(-1, sig) // ESRCH: there is none
}

// powerOff ends the guest. It does not return from pid 1.
func powerOff() {
	if os.Getpid() != 1 {
		return
	}
	killAll(unix.SIGKILL)
	settle()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		complain("power off: %v", err)
	}
	// Leaving pid 1 makes the kernel panic, which ends the machine as well.
}
