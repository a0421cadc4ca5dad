//go:build tcg

package tcg

import (
	"testing"

	"github.com/holtvm/holt/internal/vmtest"
)

// guestHalves are what the test binary does inside a guest; see vmtest.Main.
var guestHalves = map[string]func() error{
	"world":   inspectWorld,
	"kernel":  inspectKernel,
	"posix":   runPosixTests,
	"servers": serveWorld,
	"probe":   probeNetwork,
	"bulk":    sendBulk,
	"spoof":   spoof,
	"flood":   flood,
}

func TestMain(m *testing.M) { vmtest.Main(m, guestHalves) }
