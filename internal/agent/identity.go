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

// setClock sets the clock to ns, nanoseconds since 1970, which the host has just
// sent; 0 leaves it. So does a clock that is behind by at most that, or ahead by what ns
// may have been on its way: a guest that has its time from its hypervisor is right to the
// microsecond.
func setClock(ns int64, behind time.Duration) error {
	host := time.Unix(0, ns)
	if ahead := time.Since(host); ns == 0 || ahead >= -behind && ahead < time.Second {
		return nil
	}
	ts := unix.NsecToTimespec(ns)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("set clock to %v: %w", host, err)
	}
	return nil
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
