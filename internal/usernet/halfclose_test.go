package usernet

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHalfClose has each side end its sending first and then read all that the
// other sends.
func TestHalfClose(t *testing.T) {
	g := newGuest(t, testConfig())
	t.Run("guest first", func(t *testing.T) {
		c := g.dial(t, g.serveTCP(t, false, func(c *net.TCPConn) {
			defer c.Close()
			b, _ := io.ReadAll(c)
			time.Sleep(50 * time.Millisecond)
			c.Write(append(b, " world"...))
		}))
		c.Write([]byte("hello"))
		c.CloseWrite()
		within(t, 5*time.Second, func() {
			if b, err := io.ReadAll(c); err != nil || string(b) != "hello world" {
				t.Errorf("got %q, %v", b, err)
			}
		})
	})
	t.Run("host first", func(t *testing.T) {
		got := make(chan string, 1)
		c := g.dial(t, g.serveTCP(t, false, func(c *net.TCPConn) {
			defer c.Close()
			c.Write([]byte("hello"))
			c.CloseWrite()
			b, err := io.ReadAll(c)
			if err != nil {
				b = []byte(err.Error())
			}
			got <- string(b)
		}))
		within(t, 5*time.Second, func() {
			if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
				t.Errorf("got %q, %v", b, err)
			}
			time.Sleep(50 * time.Millisecond)
			c.Write([]byte("world"))
			c.CloseWrite()
			if s := <-got; s != "world" {
				t.Errorf("the host got %q", s)
			}
		})
	})
	if !eventually(func() bool { return g.network.Stats().Active == 0 }) {
		t.Error("connections are left")
	}
}

// TestReset has each side reset, while the other side waits or is busy.
func TestReset(t *testing.T) {
	for _, busy := range []bool{false, true} {
		g := newGuest(t, testConfig())
		got := make(chan error, 1)
		// The guest resets: the host's peer must see it.
		c := g.dial(t, g.serveTCP(t, false, func(c *net.TCPConn) {
			defer c.Close()
			c.Write([]byte("x"))
			if busy {
				time.Sleep(100 * time.Millisecond) // lets the guest's data pile up
			}
			_, err := io.Copy(io.Discard, c)
			got <- err
		}))
		io.ReadFull(c, make([]byte, 1))
		if busy {
			c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			c.Write(make([]byte, 64<<20))
		}
		g.abortAll()
		within(t, 5*time.Second, func() {
			if err := <-got; !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("busy %v: the host sees %v", busy, err)
			}
		})

		// The host's peer resets: the guest must see it.
		g = newGuest(t, testConfig())
		c = g.dial(t, g.serveTCP(t, false, func(c *net.TCPConn) {
			io.ReadFull(c, make([]byte, 1))
			c.SetLinger(0)
			c.Close()
		}))
		c.Write([]byte("x"))
		var err error
		if busy {
			_, err = c.Write(make([]byte, 1<<20))
		}
		within(t, 5*time.Second, func() {
			if err == nil { // the stack tells once
				_, err = io.Copy(io.Discard, c)
			}
			if err == nil || !strings.Contains(err.Error(), "reset") {
				t.Errorf("busy %v: the guest sees %v", busy, err)
			}
		})
		if !eventually(func() bool { return g.network.Stats().Active == 0 }) {
			t.Error("connections are left")
		}
	}
}

// TestResetAfterHalfClose has the host's peer reset after it has ended its sending.
func TestResetAfterHalfClose(t *testing.T) {
	g := newGuest(t, testConfig())
	c := g.dial(t, g.serveTCP(t, false, func(c *net.TCPConn) {
		c.CloseWrite()
		time.Sleep(100 * time.Millisecond)
		c.SetLinger(0)
		c.Close()
	}))
	if _, err := io.ReadAll(c); err != nil {
		t.Error(err)
	}
	if !eventually(func() bool { return g.network.Stats().Active == 0 }) {
		t.Error("the connection is still there")
	}
}

// abortAll resets the guest's connections.
func (g *guest) abortAll() {
	for _, e := range g.stack.RegisteredEndpoints() {
		e.Abort()
	}
}

// eventually reports whether f becomes true within seconds.
func eventually(f func() bool) bool {
	for range 500 {
		if f() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}
