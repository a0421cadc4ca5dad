//go:build tcg

package tcg

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/vmtest"
)

// baseRoot is the directory with busybox that `holt setup` made.
func baseRoot(t *testing.T) string {
	t.Helper()
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dirs.Data, "roots", "base")
}

// newDisk is a sparse file of so many MiB.
func newDisk(t *testing.T, mib int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(mib << 20); err != nil {
		t.Fatal(err)
	}
	return path
}

// newExt4 is an ext4 image with the content of a directory, as mke2fs makes it.
func newExt4(t *testing.T, dir string, mib int64) string {
	t.Helper()
	path := newDisk(t, mib)
	tool(t, "/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-d", dir, path)
	return path
}

// tool runs a program of the host and returns its output.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestRootDisk: an ext4 image is the root, keeps what is written, and is clean when
// the guest has ended.
func TestRootDisk(t *testing.T) {
	t.Parallel()
	image := newExt4(t, baseRoot(t), 64)
	r := vmtest.Run(t, "run", "--root-disk", image, "--", "sh", "-c",
		`awk '$2 == "/" { print $3 }' /proc/mounts; mkdir /made && echo kept > /made/note; ls -d /proc/1 /dev/null /sys/class`)
	r.Want(t, 0, "ext4\n/dev/null\n/proc/1\n/sys/class\n")
	tool(t, "/sbin/e2fsck", "-fn", image)
	vmtest.Run(t, "run", "--root-disk", image+":ro", "--", "sh", "-c", "cat /made/note; touch /made/other").Want(t, 1, "kept\n")
	vmtest.Run(t, "run", "--root-disk", image, "--overlay", "--", "sh", "-c", "rm /made/note; ls /made; touch /made/other").Want(t, 0, "")
	vmtest.Run(t, "run", "--root-disk", image, "--", "ls", "/made").Want(t, 0, "note\n")
	tool(t, "/sbin/e2fsck", "-fn", image)
}

// TestDisks: further disks come in their order and under their names, one that is
// read-only is so, and what was freed in the guest is freed on the host.
func TestDisks(t *testing.T) {
	t.Parallel()
	first, second := newDisk(t, 8), newDisk(t, 16)
	if err := os.WriteFile(second, bytes.Repeat([]byte("host"), 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	r := vmtest.Run(t, "run", "--disk", first, "--disk", second+":ro", "--", "sh", "-c", `
cd /dev/disk/by-id
for d in virtio-disk0 virtio-disk1; do
  dev=$(basename $(readlink -f $d)); echo $d $(cat /sys/block/$dev/size /sys/block/$dev/ro)
done
head -c 4 virtio-disk1; echo
echo x 2>/dev/null > virtio-disk1 || echo refused
yes guest | head -c 4194304 > virtio-disk0; sync
head -c 5 virtio-disk0; echo`)
	r.Want(t, 0, "virtio-disk0 16384 0\nvirtio-disk1 32768 1\nhost\nrefused\nguest\n")
	b, err := os.ReadFile(first)
	if err != nil || !bytes.HasPrefix(b, []byte("guest\nguest\n")) || bytes.Count(b, []byte("guest\n")) != 4<<20/6 {
		t.Errorf("the host has %.20q, %v", b, err)
	}
	if b, err := os.ReadFile(second); err != nil || bytes.Count(b, []byte("host")) != 4<<20 {
		t.Errorf("the read-only disk has changed: %v", err)
	}
}

// TestDiskInUse: a disk that is written belongs to one VM; several may read one.
func TestDiskInUse(t *testing.T) {
	t.Parallel()
	image := newDisk(t, 8)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Link(image, link); err != nil {
		t.Fatal(err)
	}
	p, stdin := vmtest.Command{Args: []string{"run", "-i", "--disk", image, "--", "sh", "-c", "echo up; cat"}}.StartWithStdin(t)
	p.WaitOutput(t, "up\n")
	for _, disk := range []string{image, image + ":ro", link} {
		r := vmtest.Run(t, "run", "--disk", disk, "--", "echo", "booted")
		if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, strings.TrimSuffix(disk, ":ro")) || !strings.Contains(r.Stderr, "in use") {
			t.Errorf("%s: exit status %d, %q, %q", disk, r.Code, r.Stdout, r.Stderr)
		}
	}
	stdin.Close()
	p.Wait(t).Want(t, 0, "up\n")
	r := vmtest.Run(t, "run", "--disk", image, "--disk", link+":ro", "--", "echo", "booted")
	if r.Code != 125 || r.Stdout != "" {
		t.Errorf("one file twice: exit status %d, %q, %q", r.Code, r.Stdout, r.Stderr)
	}

	p, stdin = vmtest.Command{Args: []string{"run", "-i", "--disk", image + ":ro", "--", "sh", "-c", "echo up; cat"}}.StartWithStdin(t)
	p.WaitOutput(t, "up\n")
	vmtest.Run(t, "run", "--disk", image+":ro", "--", "echo", "booted").Want(t, 0, "booted\n")
	stdin.Close()
	p.Wait(t).Want(t, 0, "up\n")
}

// TestBadDisks: each is refused before any boot.
func TestBadDisks(t *testing.T) {
	odd := filepath.Join(t.TempDir(), "odd")
	if err := os.WriteFile(odd, make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"size":                     {[]string{"--disk", odd}, "512"},
		"missing":                  {[]string{"--disk", odd + "x"}, "no such file"},
		"a directory as root disk": {[]string{"--root-disk", filepath.Dir(odd)}, "directory"},
		"two roots":                {[]string{"--root-disk", odd, "--rootfs", filepath.Dir(odd)}, "exactly one"},
	} {
		r := vmtest.Run(t, append(append([]string{"run"}, test.args...), "--", "echo", "booted")...)
		if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, test.want) {
			t.Errorf("%s: exit status %d, %q, %q", name, r.Code, r.Stdout, r.Stderr)
		}
	}
	// An image without a file system is found out by the guest.
	r := vmtest.Run(t, "run", "--root-disk", newDisk(t, 8), "--", "echo", "booted")
	if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "file system") {
		t.Errorf("no file system: exit status %d, %q, %q", r.Code, r.Stdout, r.Stderr)
	}
}

// TestFio: what fio writes it finds again, in blocks of several sizes and in flight
// at once, and after dropping every cache.
func TestFio(t *testing.T) {
	t.Parallel()
	root := vmtest.DebianRoot(t)
	job := `[global]
filename=/dev/disk/by-id/virtio-disk0
direct=1
size=` + fmt.Sprint(vmtest.Times(64, 16)) + `m
verify=crc32c
verify_fatal=1
do_verify=1
[sequential]
rw=write
bs=256k
[random]
stonewall
rw=randwrite
bsrange=512-64k
ioengine=libaio
iodepth=16
offset=64m
[discard]
stonewall
rw=randtrim
bs=64k
io_size=4m
verify=0
offset=128m
`
	r := vmtest.Command{
		Args:  []string{"run", "--rootfs", root, "--overlay", "-i", "-c", "2", "--disk", newDisk(t, 256), "--", "fio", "--output-format=terse", "-"},
		Stdin: strings.NewReader(job),
	}.Run(t)
	if r.Code != 0 || strings.Contains(r.Stdout+r.Stderr, "verify:") {
		t.Fatalf("exit status %d\n%s\n%s", r.Code, r.Stdout, r.Stderr)
	}
}

// TestPowerCut: what was synced survives the monitor's violent death, and the file
// system is whole once its journal was replayed.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	image := newExt4(t, empty, 64)
	for range 2 {
		p := vmtest.Start(t, "run", "--disk", image, "--", "sh", "-c", `
mkdir -p /mnt && mount -t ext4 /dev/disk/by-id/virtio-disk0 /mnt || exit 1
n=$(ls /mnt | grep -c '^n')
while :; do
  n=$((n + 1))
  head -c 20000 /dev/urandom > /mnt/data; md5sum < /mnt/data > /mnt/n$n; cat /mnt/data >> /mnt/n$n; sync
  echo synced $n
done`)
		p.WaitOutput(t, "synced ")
		time.Sleep(500 * time.Millisecond)
		tool(t, "kill", append([]string{"-9"}, texts(vmtest.Tree(t, p.Cmd.Process.Pid, "monitor"))...)...)
		r := p.Wait(t)
		lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
		var last int
		if _, err := fmt.Sscanf(lines[len(lines)-1], "synced %d", &last); err != nil {
			t.Fatalf("%v: %q, %q", err, r.Stdout, r.Stderr)
		}
		tool(t, "/sbin/e2fsck", "-E", "journal_only", "-p", image)
		tool(t, "/sbin/e2fsck", "-fn", image)
		check := vmtest.Run(t, "run", "--disk", image, "-e", fmt.Sprint("LAST=", last), "--", "sh", "-c", `
mkdir -p /mnt && mount -t ext4 /dev/disk/by-id/virtio-disk0 /mnt || exit 1
for n in $(seq $LAST); do
  [ "$(head -n 1 /mnt/n$n)" = "$(tail -n +2 /mnt/n$n | md5sum)" ] || echo $n is lost
done
umount /mnt; echo checked $LAST`)
		check.Want(t, 0, fmt.Sprintf("checked %d\n", last))
	}
}

func texts(numbers []int) (list []string) {
	for _, n := range numbers {
		list = append(list, fmt.Sprint(n))
	}
	return list
}
