package usernet

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStalled has guests that take nothing of what the host has for them: little
// time may go by for these.
func TestStalled(t *testing.T) {
	g := newGuest(t, testConfig())
	const count = 100
	to := g.serveTCP(t, false, func(c *net.TCPConn) {
		defer c.Close()
		c.Write(make([]byte, 1200<<10))
		for range 10 {
			time.Sleep(20 * time.Millisecond)
			c.Write(make([]byte, 100))
		}
		io.Copy(io.Discard, c)
	})
	for range count {
		g.dial(t, to)
	}
	time.Sleep(time.Second)
	before := cpuTime()
	time.Sleep(time.Second)
	if used := cpuTime() - before; used > 150*time.Millisecond {
		t.Errorf("%d connections that stand still take %v in a second", count, used)
	}
}

func cpuTime() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
