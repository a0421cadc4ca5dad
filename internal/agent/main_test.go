package agent

import (
	"os"
	"testing"

	"github.com/holtvm/holt/internal/agent/program"
)

// reaper is the one of this test process: nothing else in it may wait.
var reaper = program.NewReaper()

func TestMain(m *testing.M) {
	if os.Args[0] == program.ShimArg0 {
		program.RunShim(os.Args)
		os.Exit(127)
	}
	go reaper.Run()
	os.Exit(m.Run())
}
