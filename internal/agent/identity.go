package agent

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// setIdentity sets the host name, the clock, and the loopback interface up.
func setIdentity(spec agentproto.BootSpec) error {
	if spec.Hostname != "" {
		if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
			return fmt.Errorf("set host name: %w", err)
		}
	}
	if host := time.Unix(0, spec.ClockNS); spec.ClockNS != 0 && !plausible(time.Since(host)) {
		ts := unix.NsecToTimespec(spec.ClockNS)
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
			return fmt.Errorf("set clock to %v: %w", host, err)
		}
	}
	if err := loopbackUp(); err != nil {
		complain("set loopback interface up: %v", err) // many programs do without
	}
	return nil
}

// plausible says whether a clock can be right that is ahead of the host's by this
// much: what the host said has been on its way. A guest that has its time from its
// hypervisor is right to the millisecond, and would only lose by being set.
func plausible(ahead time.Duration) bool { return ahead >= 0 && ahead < 2*time.Second }

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
