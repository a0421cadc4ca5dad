package qemu

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/rng"
)

// TestConsoleHoldsALot: while nobody reads, small pieces fill the whole pipe, and
// then a writer that cannot wait is told so.
func TestConsoleHoldsALot(t *testing.T) {
	ours, theirs, err := openConsole()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	fd := int(theirs.Fd())
	if err := unix.SetNonblock(fd, true); err != nil { // as QEMU does
		t.Fatal(err)
	}
	piece := []byte("sixteen bytes..\n")
	n := 0
	for err == nil {
		if _, err = unix.Write(fd, piece); err == nil {
			n += len(piece)
		}
	}
	if !errors.Is(err, unix.EAGAIN) || n < 60<<10 { // the least that any pipe has
		t.Errorf("%d bytes, then %v", n, err)
	}
	t.Logf("%d KiB", n>>10)
	theirs.Close()
	if b, err := io.ReadAll(ours); err != nil || len(b) != n {
		t.Errorf("%d bytes of %d come out, %v", len(b), n, err)
	}
}

// TestConsoleCanBeGivenUp: a reader does not wait for ever for an end that
// somebody else holds open.
func TestConsoleCanBeGivenUp(t *testing.T) {
	ours, theirs, err := openConsole()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	defer ours.Close()
	if err := ours.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
}

// TestStandIns: a device that QEMU has itself takes no socket from one behind it.
func TestStandIns(t *testing.T) {
	m := tinyMachine()
	m.Devices = []virtio.Device{stub{kind: virtio.TypeConsole}, stub{kind: virtio.TypeBalloon}, &rng.Device{}}
	if got := served(m.Devices); len(got) != 1 || got[0] != m.Devices[2] {
		t.Errorf("served are %v", got)
	}
	args, err := new(Backend).arguments(m)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(args, " ")
	for _, part := range []string{"socket,id=dev2,fd=5", "vhost-user-rng-pci,chardev=dev2", "virtconsole,chardev=console", "virtio-balloon-pci,"} {
		if !strings.Contains(line, part) {
			t.Errorf("no %q in %s", part, line)
		}
	}
	if slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, "id=dev0") || strings.Contains(a, "id=dev1") }) {
		t.Errorf("a device of QEMU's own has a socket: %s", line)
	}
}
