//go:build kvm

package kvm

import (
	"testing"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/vmtest"
)

// TestBootsLeaveNothing boots guests to their end, one after the other in one
// process, which then holds what it held before.
func TestBootsLeaveNothing(t *testing.T) {
	boot := func() {
		vm, err := holt.NewBuilder().RootPath(baseRoot(t)).RootOverlay(true).RAMMiB(128).NumVCPUs(2).
			ExecPath("true").Build(holt.InProcess(), holt.WithBackend("kvm"))
		if err != nil {
			t.Fatal(err)
		}
		if err := vm.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	const warmUp = 2
	boots := vmtest.Times(20, 5)
	for range warmUp {
		boot()
	}
	before, start := vmtest.ResourcesNow(t), time.Now()
	for range boots {
		boot()
	}
	t.Logf("%d boots, %v each", boots, time.Since(start)/time.Duration(boots))
	vmtest.NothingGrew(t, before, vmtest.Resources{Threads: 4, RSS: int64(vmtest.Times(8, 4)) << 20})
	nothingLeft(t)
}
