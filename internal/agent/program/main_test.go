package program

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// reaper is the one of this test process: nothing else in it may wait.
var reaper = NewReaper()

func TestMain(m *testing.M) {
	if os.Args[0] == ShimArg0 {
		RunShim(os.Args)
		os.Exit(127)
	}
	// What the caller of go test left open is not the agent's.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	go reaper.Run()
	os.Exit(m.Run())
}
