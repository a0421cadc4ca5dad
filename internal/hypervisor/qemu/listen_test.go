package qemu

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/rng"
)

// TestListen: who has the file can connect, though the socket has no name, however
// long that of the directory was.
func TestListen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 50))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	l, file, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
	caller, err := net.Dial("unix", descriptorPath(int(file.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	conn, err := accept(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := caller.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	var b [1]byte
	if _, err := conn.Read(b[:]); err != nil || b[0] != 'x' {
		t.Errorf("read %q, %v", b, err)
	}
	if _, err := net.Dial("unix", descriptorPath(int(file.Fd()))); err == nil {
		t.Error("a second call is taken")
	}
}

// TestAcceptEnds: nobody waits for a call that will not come.
func TestAcceptEnds(t *testing.T) {
	l, file, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if conn, err := accept(ctx, l); err == nil {
		conn.Close()
		t.Error("a call came")
	}
}

// card is a device that only looks like a network card.
type card struct{ rng.Device }

func (*card) Type() virtio.DeviceType { return virtio.TypeNet }
func (*card) QueueSizes() []uint16    { return []uint16{256, 256} }

// TestQEMUCalls: what comes over a connection that QEMU opened is the device's, and
// a QEMU that does not call ends as any other.
func TestQEMUCalls(t *testing.T) {
	for mode, want := range map[string]string{"calls a device and breaks it": "virtio net device: vhost-user net", "powers off": ""} {
		b := fakeQEMU(t, mode)
		m := tinyMachine()
		m.Devices = []virtio.Device{&card{}}
		v, err := b.Start(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-v.Done():
		case <-time.After(10 * time.Second):
			v.Kill()
			t.Fatalf("%s: it does not end", mode)
		}
		if err := v.Err(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", mode, err, want)
		}
	}
}
