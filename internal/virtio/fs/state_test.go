package fs_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/fsserver"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/fs"
	"github.com/holtvm/holt/internal/virtiotest"
)

// initRequest is INIT of 7.37.
var initRequest = fuse(26, 0, "\x07\x00\x00\x00\x25\x00\x00\x00"+"\x00\x00\x02\x00\xff\xff\xff\xff")

// TestState moves a session of the real server with an open file.
func TestState(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "name"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	newDevice := func(t *testing.T) virtio.Device { return serve(t, dir) }
	virtiotest.StateSuite(t, newDevice, func(t *testing.T, d *virtiotest.Driver, again bool) {
		do := func(opcode uint32, node uint64, args string) []byte {
			t.Helper()
			reply := d.Queue(1).Do(fuse(opcode, node, args), 4096)
			if errno := -int32(binary.LittleEndian.Uint32(reply[4:])); errno != 0 {
				t.Fatalf("opcode %d: error %d", opcode, errno)
			}
			return bytes.Clone(reply[16:])
		}
		const node, fh = 2, 1
		if !again {
			d.Queue(1).Do(initRequest, 4096)
			do(1, 1, "name\x00")          // LOOKUP
			do(14, node, "\x00"+zeros(7)) // OPEN
			do(27, 1, "\x00"+zeros(7))    // OPENDIR
		}
		got := do(15, node, string(rune(fh))+zeros(15)+"\x40"+zeros(23)) // READ
		if string(got) != "content" {
			t.Errorf("read %q", got)
		}
	})
}

func zeros(n int) string { return strings.Repeat("\x00", n) }

func serve(t testing.TB, dir string) *fs.Device {
	server, err := fsserver.New(dir, fsserver.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	dev, err := fs.New("root", 1, server)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func TestStateOfAnotherDevice(t *testing.T) {
	dir := t.TempDir()
	state, err := serve(t, dir).SaveState()
	if err != nil {
		t.Fatal(err)
	}
	server, err := fsserver.New(dir, fsserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, c := range []struct {
		tag    string
		queues int
	}{{"other", 1}, {"root", 2}} {
		dev, err := fs.New(c.tag, c.queues, server)
		if err != nil {
			t.Fatal(err)
		}
		if err := dev.LoadState(state); err == nil || !strings.Contains(err.Error(), "root") {
			t.Errorf("%q with %d queues: %v", c.tag, c.queues, err)
		}
	}
}
