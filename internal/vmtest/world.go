package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// World is a network for tests to reach and be refused: a network namespace for
// the host of a guest, and beyond it, at the other end of a cable, one that has
// every other address there is. Nothing that is sent in either leaves this
// machine.
type World struct {
	Host   string // name of the host's namespace
	Beyond string // name of the other one
}

// Addresses of a World.
const (
	HostPublic4 = "93.184.215.1"
	HostPublic6 = "2606:2800:21f::1"
)

// beyond are addresses in the namespace Beyond, with the length of a prefix where
// the host is its neighbour.
var beyond = []string{
	"93.184.215.14/24", "2606:2800:21f::14/64", // public
	"8.8.4.4/32", "2a00:1450::5/128", // public, too
	"10.77.0.1/32", "172.16.5.5/32", "192.168.7.7/32", "100.64.9.9/32", "fd77::1/128", // private
	"169.254.169.254/32", "169.254.7.7/32", "fd00:ec2::254/128", // metadata, link-local
}

var worlds atomic.Int32

// NewWorld makes a World for the test's time. It needs root.
func NewWorld(t testing.TB) *World {
	t.Helper()
	id := fmt.Sprintf("%d-%d", os.Getpid(), worlds.Add(1))
	w := &World{Host: "holt-host-" + id, Beyond: "holt-beyond-" + id}
	ip(t, "netns", "add", w.Host)
	t.Cleanup(func() { ip(t, "netns", "del", w.Host) })
	ip(t, "netns", "add", w.Beyond)
	t.Cleanup(func() { ip(t, "netns", "del", w.Beyond) })
	for _, ns := range []string{w.Host, w.Beyond} {
		ip(t, "-n", ns, "link", "set", "lo", "up")
	}
	ip(t, "-n", w.Host, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", w.Beyond)
	for _, address := range []string{HostPublic4 + "/24", HostPublic6 + "/64"} {
		ip(t, "-n", w.Host, "address", "add", address, "dev", "cable", "nodad")
	}
	for _, address := range beyond {
		ip(t, "-n", w.Beyond, "address", "add", address, "dev", "cable", "nodad")
	}
	for _, ns := range []string{w.Host, w.Beyond} {
		ip(t, "-n", ns, "link", "set", "cable", "up")
	}
	ip(t, "-n", w.Host, "route", "add", "default", "dev", "cable")
	ip(t, "-n", w.Host, "-6", "route", "add", "default", "via", "2606:2800:21f::14", "dev", "cable")
	return w
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Errorf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// enter is the command line's beginning that runs the rest in a namespace.
func enter(netns string) []string { return []string{"nsenter", "--net=/run/netns/" + netns} }

// Serve runs a half of this test binary in a namespace, for the test's time. It
// returns when the half has printed a line.
func Serve(t testing.TB, netns, half string, env ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(enter(netns), self)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(append(os.Environ(), guestHalf+"="+half), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	patience := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer patience.Stop()
	var line [1]byte
	if _, err := out.Read(line[:]); err != nil {
		t.Fatalf("%s in %s said nothing: %v", half, filepath.Base(netns), err)
	}
}
