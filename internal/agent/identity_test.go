package agent

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStray: clocks that are right stay, even if the host's message was on its way for
// long.
func TestStray(t *testing.T) {
	host := time.Unix(1764000000, 0)
	for _, c := range []struct {
		name string
		s    stray
		off  time.Duration
		want bool
	}{
		{"boot, right", bootClock, 0, true},
		{"boot, behind", bootClock, -time.Microsecond, false},
		{"boot, slow message", bootClock, 900 * time.Millisecond, true},
		{"boot, ahead", bootClock, time.Second, false},
		{"clone, right", renewedClock, 0, true},
		{"clone, as right as needed", renewedClock, -time.Millisecond, true},
		{"clone, behind", renewedClock, -2 * time.Millisecond, false},
		{"clone, saved long ago", renewedClock, -24 * time.Hour, false},
		{"clone, slow message of a busy host", renewedClock, 5 * time.Second, true},
		{"clone of a host whose clock is ahead", renewedClock, time.Minute, false},
	} {
		if got := c.s.allows(host.Add(c.off), host); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestTimexOffset: the nanoseconds are never negative.
func TestTimexOffset(t *testing.T) {
	for by, want := range map[time.Duration]unix.Timeval{
		1:                        {Sec: 0, Usec: 1},
		-1:                       {Sec: -1, Usec: 999999999},
		time.Second:              {Sec: 1},
		-time.Second:             {Sec: -1},
		-2700 * time.Millisecond: {Sec: -3, Usec: 300000000},
	} {
		if got := timexOffset(by); got != want {
			t.Errorf("%v: %+v, want %+v", by, got, want)
		}
	}
}
