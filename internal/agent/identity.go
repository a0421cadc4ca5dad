package agent

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// setIdentity sets the host name, and the loopback interface up.
func setIdentity(hostname string) error {
	if err := setHostname(hostname); err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		complain("set loopback interface up: %v", err) // many programs do without
	}
	return nil
}

// setHostname sets the host name, unless it is empty.
func setHostname(name string) error {
	if name == "" {
		return nil
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	return nil
}

// stray is how far a clock may be from what the host sent and is left alone: a guest that
// has its time from its hypervisor is right to the microsecond, and what the host sent
// is as old as its way was long.
type stray struct{ behind, ahead time.Duration }

var (
	bootClock = stray{ahead: time.Second}
	// A clone's clock is right mostly, too: the mailbox had the time. Then a message of a
	// busy host must not put it back.
	renewedClock = stray{behind: time.Millisecond, ahead: time.Minute}
)

func (s stray) allows(clock, host time.Time) bool {
	off := clock.Sub(host)
	return off >= -s.behind && off < s.ahead
}

// setClock sets the clock to ns, nanoseconds since 1970, which the host has just sent,
// unless it is right; 0 leaves it.
func setClock(ns int64, s stray) error {
	host := time.Unix(0, ns)
	if ns == 0 || s.allows(time.Now(), host) {
		return nil
	}
	ts := unix.NsecToTimespec(ns)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("set clock to %v: %w", host, err)
	}
	return nil
}

// adjustClock adds by to the clock, and returns what it shows then. No time is lost
// between looking and setting.
func adjustClock(by time.Duration) (time.Time, error) {
	if by != 0 {
		off := unix.Timex{Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO, Time: timexOffset(by)}
		if _, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &off); err != nil {
			return time.Time{}, fmt.Errorf("adjust clock by %v: %w", by, err)
		}
	}
	return time.Now(), nil
}

// timexOffset is an offset as clock_adjtime(2) takes it with ADJ_NANO: the nanoseconds,
// in the place of microseconds, are added always.
func timexOffset(by time.Duration) unix.Timeval {
	sec, ns := by/time.Second, by%time.Second
	if ns < 0 {
		sec, ns = sec-1, ns+time.Second
	}
	return unix.Timeval{Sec: int64(sec), Usec: int64(ns)}
}

// loopbackUp gives the guest 127.0.0.1 and ::1, which the kernel adds itself
// to a loopback interface that is up.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
