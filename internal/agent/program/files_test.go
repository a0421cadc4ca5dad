package program

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/holtvm/holt/internal/agentproto"
)

// TestManyFiles: this process may open more than its children, and only while it has
// to.
func TestManyFiles(t *testing.T) {
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil || before.Max <= defaultFiles {
		t.Skip("the limit of open files cannot be raised here:", before, err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) })
	base := before
	base.Cur = defaultFiles
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &base); err != nil {
		t.Fatal(err)
	}
	own := func() uint64 {
		var l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			t.Fatal(err)
		}
		return l.Cur
	}
	check := func(when string, want uint64) {
		t.Helper()
		out, _, _ := run(t, agentproto.Program{Path: "cat", Args: []string{"/proc/self/limits"}})
		if got := limit(out, "Max open files"); !strings.HasPrefix(got, "1024 ") {
			t.Errorf("%s: a program gets %s", when, got)
		}
		if own() != want {
			t.Errorf("%s: this process has %d, want %d", when, own(), want)
		}
	}
	check("at first", defaultFiles)

	// Descriptors up to where it matters, and some beyond.
	var files []*os.File
	for len(files) < manyFiles+10 {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	raised := min(agentFiles, before.Max)
	check("with many files", raised)
	_ = files[0].Close() // a low descriptor is free, and not many are
	check("with a low one free", raised)
	for _, f := range files[1:] {
		_ = f.Close()
	}
	check("with few files", defaultFiles)
}

// Who starts a program may wait for it, with the lock of the reaper. What else is opened
// meanwhile, such as a connection that asks for the guest's end, does not.
func TestOpenedDoesNotWait(t *testing.T) {
	r := NewReaper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Opened(3)
}
