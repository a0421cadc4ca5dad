package kvm

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/rng"
)

// held counts what a machine could leave behind: descriptors, and mappings of vCPUs.
func held(t *testing.T) (descriptors, vcpus int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries), strings.Count(string(maps), "kvm-vcpu")
}

// TestDescriptorsRunOut: wherever a machine's start runs out of descriptors, it
// fails and leaves nothing behind.
func TestDescriptorsRunOut(t *testing.T) {
	m := spec(t, codeSpin)
	m.VCPUs = 2
	t.Run("boot", func(t *testing.T) { runOut(t, m) })
	m.Devices = []virtio.Device{&rng.Device{}, &rng.Device{}}
	first := launch(t, m)
	m.Origin = save(t, first)
	first.Kill()
	t.Run("go on", func(t *testing.T) { runOut(t, m) })
}

// runOut starts a machine with fewer descriptors than it needs, and with one more each
// time until it starts.
func runOut(t *testing.T, m hypervisor.Machine) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	start := func(limit uint64) error {
		m.Devices = []virtio.Device{&rng.Device{}, &rng.Device{}}
		low := old
		low.Cur = limit
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			t.Fatal(err)
		}
		vm, err := Backend{}.Start(t.Context(), m)
		if rerr := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); rerr != nil {
			t.Fatal(rerr)
		}
		if err == nil {
			vm.Kill()
		}
		return err
	}
	if err := start(old.Cur); err != nil { // now the process has what it opens once
		t.Fatal(err)
	}
	files, vcpus := held(t)
	refused := 0
	for limit := uint64(4); ; limit++ {
		err := start(limit)
		if f, v := held(t); f != files || v != vcpus {
			t.Fatalf("limit %d (%v): %d descriptors and %d vCPUs are left, there were %d and %d", limit, err, f, v, files, vcpus)
		}
		if err == nil {
			break
		}
		refused++
	}
	if refused < 10 {
		t.Errorf("only %d starts were refused: the limit had no effect", refused)
	}
}
