//go:build kvm

package kvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/vmtest"
)

// witness is the guest's program in the tests of clones. It keeps looking at what it
// has: memory, an open file of a shared directory, the half of a disk that it wrote.
// When it is told to, it writes the other half, with a content that no other clone
// writes. All that it sees is in /tmp/status.
const witness = `
import hashlib, json, os, time

def digest(b): return hashlib.sha256(b).hexdigest()

blob = os.urandom(32 << 10)
blob_sum = digest(blob)
shared = open("/shared/data", "rb")
shared_sum = digest(shared.read())
disk = os.open("/dev/disk/by-id/virtio-disk0", os.O_RDWR)
first = hashlib.sha256(b"first").digest() * 512
os.pwrite(disk, first, 0)

count, finished, wrong = 0, None, []
drawn = open("/tmp/drawn", "w")
while True:
    count += 1
    drawn.write(os.urandom(8).hex() + "\n")
    drawn.flush()
    if digest(blob) != blob_sum: wrong.append("memory")
    shared.seek(0)
    if digest(shared.read()) != shared_sum: wrong.append("shared file")
    if os.pread(disk, len(first), 0) != first: wrong.append("disk")
    if finished is None and os.path.exists("/tmp/finish"):
        mine = hashlib.sha256(open("/proc/sys/kernel/random/boot_id", "rb").read()).digest() * 512
        os.pwrite(disk, mine, len(first))
        os.fsync(disk)
        os.posix_fadvise(disk, 0, 0, os.POSIX_FADV_DONTNEED)
        finished = os.pread(disk, 2 * len(first), 0) == first + mine
    with open("/tmp/status.new", "w") as f:
        json.dump({"count": count, "wrong": wrong, "finished": finished, "blob": blob_sum}, f)
    os.rename("/tmp/status.new", "/tmp/status")
    time.sleep(1)
`

// ticker is the program of an exec session that is open all the time.
const ticker = `n=0; while :; do n=$((n+1)); echo $n > /tmp/ticks.new; mv /tmp/ticks.new /tmp/ticks; sleep 1; done`

// sighting is what the witness says.
type sighting struct {
	Count    int      `json:"count"`
	Wrong    []string `json:"wrong"`
	Finished *bool    `json:"finished"`
	Blob     string   `json:"blob"`
}

// run runs a command in a VM that must succeed.
func run(t *testing.T, vm *holt.VM, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := vm.Exec(ctx, holt.Command{Path: "sh", Args: []string{"-c", line}}).Output()
	if err != nil {
		t.Fatalf("%s: %s: %v", vm.Name(), line, err)
	}
	return string(out)
}

// goesOn fails the test unless the witness and the exec session of a VM go on, and all
// is as it should be. It returns what the witness saw at last.
func goesOn(t *testing.T, vm *holt.VM) sighting {
	t.Helper()
	const look = `before=$(cat /tmp/status); ticks=$(cat /tmp/ticks); n=0
while sleep 0.3; do
	after=$(cat /tmp/status)
	[ "$after" != "$before" ] && [ "$(cat /tmp/ticks)" != "$ticks" ] && break
	n=$((n+1)); [ $n = 200 ] && exit 1
done
echo "$before"; echo "$after"`
	var first, last sighting
	d := json.NewDecoder(strings.NewReader(run(t, vm, look)))
	if err := errors.Join(d.Decode(&first), d.Decode(&last)); err != nil {
		t.Fatal(err)
	}
	if len(last.Wrong) > 0 || last.Blob != first.Blob || last.Count <= first.Count {
		t.Errorf("%s: %+v, and then %+v", vm.Name(), first, last)
	}
	return last
}

// finish makes the witness write its half of the disk.
func finish(t *testing.T, vm *holt.VM) {
	t.Helper()
	const line = `touch /tmp/finish; n=0
while grep -q '"finished": null' /tmp/status; do sleep 0.3; n=$((n+1)); [ $n = 200 ] && exit 1; done
cat /tmp/status`
	if out := run(t, vm, line); !strings.Contains(out, `"finished": true`) {
		t.Errorf("%s: the disk has not what was written: %s", vm.Name(), out)
	}
}

// witnessVM starts a VM with the witness and a session.
func witnessVM(t *testing.T, opts ...holt.Option) (vm *holt.VM, session *holt.Cmd) {
	t.Helper()
	shared := t.TempDir()
	data := make([]byte, 8<<10)
	for i := range data {
		data[i] = byte(i * i >> 8)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(filepath.Join(shared, "data"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 16<<20)); err != nil {
		t.Fatal(err)
	}
	cfg := holt.DefaultConfig()
	cfg.MemoryMB, cfg.RootPath, cfg.RootOverlay = 256, vmtest.DebianRoot(t), true
	cfg.MappedDirs = []holt.PathPair{{Host: shared, Guest: "/shared"}}
	cfg.Disks = []holt.Disk{{Path: disk}}
	cfg.LogLevel = holt.LogWarn // a VM that is saved without its programs being held
	cfg.ExecPath, cfg.Args = "python3", []string{"-c", witness}
	opts = append([]holt.Option{holt.WithBackend("kvm"), holt.WithBinary(vmtest.Holt(t))}, opts...)
	vm, err := holt.New(cfg, opts...)
	if err != nil {
		t.Fatal(err)
	}
	var errors strings.Builder
	vm.Stderr = &errors
	if err := vm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = vm.Kill()
		if t.Failed() {
			t.Logf("the witness printed %q", errors.String())
		}
	})
	session = vm.Exec(context.Background(), holt.Command{Path: "sh", Args: []string{"-c", ticker}})
	if err := session.Start(); err != nil {
		t.Fatal(err)
	}
	run(t, vm, "while [ ! -e /tmp/status -o ! -e /tmp/ticks ]; do sleep 0.3; done")
	return vm, session
}

// atOnce is how many busy clones run at a time, at most.
const atOnce = 5

// fork makes copies of a VM, which end with the test.
func fork(t *testing.T, vm *holt.VM, n int) []*holt.VM {
	t.Helper()
	begin := time.Now()
	clones, err := vm.Fork(t.Context(), n, holt.WithBinary(vmtest.Holt(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d forks in %v", n, time.Since(begin))
	t.Cleanup(func() { kill(t, clones) })
	return clones
}

// kill ends VMs.
func kill(t *testing.T, vms []*holt.VM) {
	t.Helper()
	for _, vm := range vms {
		if err := vm.Kill(); err != nil {
			t.Error(err)
		}
	}
}

// TestClones saves a VM at work, restores it several times, forks it many times, and
// looks whether every copy goes on as itself.
func TestClones(t *testing.T) {
	vmtest.Home(t)
	vm, session := witnessVM(t)
	goesOn(t, vm)

	saved, err := vm.Snapshot(t.Context(), "witness")
	if err != nil {
		t.Fatal(err)
	}
	before := goesOn(t, vm)
	if err := saved.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	var counts []int
	for i := range vmtest.Times(10, 2) {
		begin := time.Now()
		clone, err := holt.Restore(t.Context(), "witness", holt.WithBinary(vmtest.Holt(t)))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("restored in %v", time.Since(begin))
		s := goesOn(t, clone)
		counts = append(counts, s.Count)
		if s.Blob != before.Blob {
			t.Error("it is not the memory that was saved")
		}
		if i == 0 {
			sessions, err := clone.Sessions(t.Context())
			if err != nil || sessions[0].ID != session.Session() || sessions[0].Attached || !sessions[0].Running {
				t.Errorf("the clone's sessions: %+v, %v", sessions, err)
			}
		}
		finish(t, clone)
		kill(t, []*holt.VM{clone})
	}
	t.Logf("the restored ones got to %v", counts)

	// All of them work: an outer VM's one processor is enough for some at a time.
	n := vmtest.Times(50, 3)
	for ; n > atOnce; n -= atOnce {
		clones := fork(t, vm, atOnce)
		for _, clone := range clones {
			goesOn(t, clone)
			finish(t, clone)
		}
		kill(t, clones)
	}
	clones := fork(t, vm, n)
	for i, clone := range clones {
		goesOn(t, clone)
		if i%3 == 0 {
			finish(t, clone)
		}
	}
	kill(t, clones[2:])
	clones = clones[:2]
	// A copy of a copy, and one more of the first, whose memory is in layers by now.
	again := fork(t, clones[0], 1)
	more := fork(t, vm, 1)
	if s := goesOn(t, again[0]); s.Finished == nil || !*s.Finished {
		t.Error("the copy of a copy does not know that this one had finished")
	}
	if s := goesOn(t, more[0]); s.Finished != nil {
		t.Error("a copy did something that the first one sees")
	}
	kill(t, append(again, more...))

	if s := goesOn(t, vm); s.Finished != nil {
		t.Error("a copy did something that the first one sees")
	}
	finish(t, vm)
	for _, clone := range clones {
		goesOn(t, clone)
	}
	if err := session.Signal(syscall.SIGKILL); err != nil {
		t.Errorf("the first one's session: %v", err)
	}
}

// TestClonesDiffer: what must be another in each clone is.
func TestClonesDiffer(t *testing.T) {
	vmtest.Home(t)
	vm, _ := witnessVM(t)
	const ask = `head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n'; echo
echo m$(cat /etc/machine-id); cat /sys/class/net/eth0/address /proc/sys/kernel/random/boot_id; hostname`
	seen := map[string]string{}
	var drawn [][]string
	worst := time.Duration(0)
	look := func(one *holt.VM) {
		lines := strings.Fields(run(t, one, ask))
		if len(lines) != 5 {
			t.Fatalf("%s says %q", one.Name(), lines)
		}
		for i, value := range lines {
			if key := fmt.Sprint(i, value); seen[key] != "" {
				t.Errorf("%s and %s have the same %s: %s", one.Name(), seen[key],
					[]string{"random bytes", "machine-id", "MAC", "boot_id", "host name"}[i], value)
			} else {
				seen[key] = one.Name()
			}
		}
		worst = max(worst, clockError(t, one))
		drawn = append(drawn, strings.Fields(run(t, one, "cat /tmp/drawn")))
	}
	for left := vmtest.Times(100, 4); left > 0; left -= atOnce {
		clones := fork(t, vm, min(left, atOnce))
		for _, clone := range clones {
			look(clone)
		}
		kill(t, clones)
	}
	look(vm)
	t.Logf("the clocks are at most %v wrong", worst)
	if worst > 10*time.Millisecond {
		t.Errorf("a clock is %v wrong", worst)
	}
	checkDrawn(t, drawn)
}

// clockError is how far a VM's clock is from this host's, as far as can be told.
func clockError(t *testing.T, vm *holt.VM) time.Duration {
	t.Helper()
	best := time.Hour
	for range 5 {
		before := time.Now()
		var ns int64
		if _, err := fmt.Sscan(run(t, vm, "date +%s%N"), &ns); err != nil {
			t.Fatal(err)
		}
		after := time.Now()
		off := time.Duration(0)
		if guest := time.Unix(0, ns); guest.Before(before) {
			off = before.Sub(guest)
		} else if guest.After(after) {
			off = guest.Sub(after)
		}
		best = min(best, off)
	}
	return best
}

// checkDrawn fails the test if two guests drew the same random number after they had
// become two. drawn is what each clone drew, atOnce of which were made at a time, and at
// the end what the original did. What that drew before some were made, all of those have
// that were made later.
func checkDrawn(t *testing.T, drawn [][]string) {
	t.Helper()
	of := map[string][]int{} // who drew a number, in order
	for i, list := range drawn {
		for _, number := range list {
			of[number] = append(of[number], i)
		}
	}
	shared := 0
	for number, who := range of {
		if len(who) == 1 {
			continue
		}
		shared++
		if who[0]%atOnce != 0 || len(who) != len(drawn)-who[0] {
			t.Errorf("%s was drawn by %v, and not by all from some on that were made at a time", number, who)
		}
	}
	t.Logf("%d numbers were drawn before, %d in all", shared, len(of))
	if shared == 0 || shared == len(of) {
		t.Error("nothing was drawn before, or after")
	}
}
