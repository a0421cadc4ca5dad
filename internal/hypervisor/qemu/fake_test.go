package qemu

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/hypervisor"
)

// A fake QEMU is this test binary, told by its environment what to do. The
// backend gives its child no environment, so a script in between sets it; and so it
// is that the race detector does not wait a second when the child ends.
const fakeVar = "HOLT_TEST_FAKE_QEMU"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(fakeVar) != "":
		os.Exit(runFake(os.Getenv(fakeVar)))
	case os.Getenv(parentVar) != "":
		os.Exit(runParent())
	}
	os.Exit(m.Run())
}

// fakeQEMU makes an executable that behaves as mode says, and a backend for it.
func fakeQEMU(t *testing.T, mode string) hypervisor.Backend {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "qemu")
	script := fmt.Sprintf("#!/bin/sh\nGORACE=atexit_sleep_ms=0 %s='%s' exec '%s' \"$@\"\n", fakeVar, mode, self)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOLT_QEMU", path)
	b, err := New(false)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func tinyMachine() hypervisor.Machine {
	return hypervisor.Machine{VCPUs: 1, MemoryBytes: 64 << 20, Kernel: hypervisor.Kernel{Path: "/k"}}
}

// runFake is the fake's main. Modes that speak QMP do it as QEMU 7.2 does.
func runFake(mode string) int {
	conn, console := os.NewFile(qmpFD, "qmp"), os.NewFile(consoleFD, "console")
	lines := bufio.NewScanner(conn)
	greet := func(version string) {
		fmt.Fprintf(conn, `{"QMP": {"version": {"qemu": {%s}, "package": ""}, "capabilities": ["oob"]}}`+"\r\n", version)
		lines.Scan()
		fmt.Fprint(conn, `{"return": {}}`+"\r\n")
	}
	shutdown := func(reason string) {
		fmt.Fprintf(conn, `{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "%s"}}`+"\r\n", reason)
	}
	const current = `"micro": 22, "minor": 2, "major": 7`
	switch mode {
	case "dies at once":
		fmt.Fprintln(os.Stderr, "qemu: no such machine")
		return 1
	case "dies after greeting":
		greet(current)
		fmt.Fprintln(os.Stderr, strings.Repeat("again ", maxStderr))
		return 3
	case "old":
		greet(`"micro": 1, "minor": 1, "major": 7`)
	case "silent":
	case "garbage":
		fmt.Fprintln(conn, "hello")
	case "powers off":
		greet(current)
		fmt.Fprint(console, "last words\r\n")
		shutdown("guest-shutdown")
		return 0
	case "is nudged":
		greet(current)
		for range 2 {
			lines.Scan()
			if want := `{"execute":"balloon","arguments":{"value":67108864}}`; lines.Text() != want {
				fmt.Fprintf(os.Stderr, "qemu: got %s, want %s\n", lines.Text(), want)
				return 1
			}
			fmt.Fprint(conn, `{"error": {"class": "DeviceNotActive", "desc": "No balloon device has been activated"}}`+"\r\n")
		}
		shutdown("guest-shutdown")
		return 0
	case "has a power button":
		greet(current)
		for _, answer := range []string{`{"error": {"class": "GenericError", "desc": "not now"}}`, `{"return": {}}`} {
			lines.Scan()
			if want := `{"execute":"system_powerdown"}`; lines.Text() != want {
				fmt.Fprintf(os.Stderr, "qemu: got %s, want %s\n", lines.Text(), want)
				return 1
			}
			fmt.Fprint(conn, answer+"\r\n")
		}
		shutdown("guest-shutdown")
		return 0
	case "resets":
		greet(current)
		shutdown("guest-reset")
		return 0
	case "is terminated":
		greet(current)
		shutdown("host-signal")
		return 0
	case "quits":
		greet(current)
		return 0
	case "crashes":
		greet(current)
		// Not a Go crash, which the runtime would turn into an exit status.
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "breaks a device":
		greet(current)
		_, _ = os.NewFile(firstDeviceFD, "device").Write([]byte(strings.Repeat("\xff", 64)))
	case "calls a device and breaks it":
		greet(current)
		conn, err := net.Dial("unix", descriptorPath(firstDeviceFD))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		_, _ = conn.Write([]byte(strings.Repeat("\xff", 64)))
	case "leaves a device":
		greet(current)
		_ = os.NewFile(firstDeviceFD, "device").Close()
	case "burns":
		greet(current)
		for used := time.Duration(0); used < 300*time.Millisecond; { // of processor time: the host may be busy
			var r syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
			used = time.Duration(r.Utime.Nano() + r.Stime.Nano())
		}
	case "lists":
		greet(current)
		entries, _ := os.ReadDir("/proc/self/fd")
		for _, e := range entries {
			target, _ := os.Readlink("/proc/self/fd/" + e.Name())
			fmt.Fprintln(console, e.Name(), target)
		}
		fmt.Fprintln(console, os.Environ())
		shutdown("guest-shutdown")
		return 0
	default: // "runs"
		greet(current)
	}
	_, _ = io.Copy(io.Discard, conn) // for ever, unless the backend is gone
	select {}
}
