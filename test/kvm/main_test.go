//go:build kvm

package kvm

import (
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/vmtest"
)

// guestHalves are what the test binary does inside a guest; see vmtest.Main.
var guestHalves = map[string]func() error{
	"clock": writeAndTellTime,
	"world": inspectMachine,
}

func TestMain(m *testing.M) { vmtest.Main(m, guestHalves) }

// TestDoctorFindsKVM: this lane runs where /dev/kvm works, and holt sees it.
func TestDoctorFindsKVM(t *testing.T) {
	r := vmtest.Run(t, "doctor")
	if !strings.Contains(r.Stdout, "ok       kvm        /dev/kvm works: guests run on Holt's own monitor\n") {
		t.Errorf("exit status %d:\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}
