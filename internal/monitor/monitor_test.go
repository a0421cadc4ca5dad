package monitor

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/boot/boottest"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/paths"
)

// TestKillWhileTheRootIsPrepared: a client that goes away ends that too, and what was
// made so far does not stay.
func TestKillWhileTheRootIsPrepared(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOLT_QEMU", "/bin/false") // it never gets that far
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	spec := Spec{
		Dir:     dir,
		Backend: hypervisor.NameQEMU, VCPUs: 1, MemoryBytes: 8 << 30,
		Kernel: write("kernel", boottest.PVHKernel([]byte{0xF4})), Rootfs: write("root", bigRoot(t)),
		Program: agentproto.Program{Path: "true"},
	}
	control, err := net.Listen("unix", filepath.Join(dir, "control"))
	if err != nil {
		t.Fatal(err)
	}
	env := Env{
		Dirs:  paths.Dirs{Data: filepath.Join(dir, "data"), Cache: filepath.Join(dir, "cache")},
		Agent: kernel.Bytes("agent"), Log: slog.New(slog.DiscardHandler), Control: control,
	}
	client, theirs := net.Pipe()
	go func() {
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if begun, _ := filepath.Glob(filepath.Join(env.Dirs.Cache, "roots", ".tmp-*")); len(begun) > 0 {
				break
			}
		}
		client.Close()
	}()
	Run(t.Context(), spec, theirs, env)
	if left, err := os.ReadDir(filepath.Join(env.Dirs.Cache, "roots")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// bigRoot is an archive with a file of 1 GiB: it takes long to unpack.
func bigRoot(t *testing.T) []byte {
	t.Helper()
	const size, piece = 1 << 30, 16 << 20
	member := func(content []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(content); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	var head bytes.Buffer
	newc := func(name string, mode, size int) {
		fmt.Fprintf(&head, "070701%08x%08x%08x%08x%08x%08x%08x%032x%08x%08x%s\x00", 1, mode, 0, 0, 1, 0, size, 0, len(name)+1, 0, name)
		io.CopyN(&head, bytes.NewReader(make([]byte, 4)), int64(-head.Len()&3))
	}
	newc("big", 0o100644, size)
	root := member(head.Bytes())
	root = append(root, bytes.Repeat(member(make([]byte, piece)), size/piece)...)
	head.Reset()
	newc("TRAILER!!!", 0, 0)
	return append(root, member(head.Bytes())...)
}

// TestRefusalIsHeard: however soon a start fails, the client hears why.
func TestRefusalIsHeard(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		listener, err := net.Listen("unix", filepath.Join(dir, "control"))
		if err != nil {
			t.Fatal(err)
		}
		client, theirs := net.Pipe()
		go Run(t.Context(), Spec{Dir: dir, Backend: "none"}, theirs, Env{Log: slog.New(slog.DiscardHandler), Control: listener, Dirs: paths.Dirs{Data: dir, Cache: dir}})
		f, err := agentproto.NewReader(client, agentproto.Agent).Next()
		if err != nil || f.Type != agentproto.TypeError || !strings.Contains(string(f.Payload), "none") {
			t.Fatalf("heard %v %q, %v", f.Type, f.Payload, err)
		}
		client.Close()
	}
}
