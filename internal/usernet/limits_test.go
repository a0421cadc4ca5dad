package usernet

import (
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLimits(t *testing.T) {
	most := limits{MaxConnections, MaxFlows, maxQueries}
	for descriptors, want := range map[int]limits{
		1 << 27: most, 5376: most,
		128: {97, 24, 6}, // of 1024 files
		0:   {1, 1, 1},
	} {
		if got := limitsFor(descriptors); got != want {
			t.Errorf("%d descriptors: %+v, want %+v", descriptors, got, want)
		}
	}
}

// TestFewDescriptors opens connections and flows where a process may have few
// descriptors: there must be some left for everything else.
func TestFewDescriptors(t *testing.T) {
	// Tests before this one may not have closed everything yet.
	if !eventually(func() bool { return openFiles(t) < 100 }) {
		t.Fatalf("%d descriptors are open at the start", openFiles(t))
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	g := newGuest(t, testConfig())
	to := g.serveTCP(t, false, echoTCP)
	refused := 0
	for range 600 {
		if c, err := g.tryDial(to); err != nil {
			refused++
		} else {
			defer c.Close()
		}
	}
	for i := range 600 {
		g.network.Transmit(g.datagram(netip.AddrPortFrom(g.network.layout.Host4, uint16(20000+i)), []byte("hello"), noOffload))
	}
	if open := openFiles(t); open > 1024/2 {
		t.Errorf("%d descriptors are open, %d connections were refused", open, refused)
	}
}

func openFiles(t testing.TB) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
