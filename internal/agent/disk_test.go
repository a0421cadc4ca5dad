package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeSysfs is a sysfs with disks: serial and device number by name.
func fakeSysfs(t *testing.T, disks map[string][2]string) string {
	t.Helper()
	sys := t.TempDir()
	for name, d := range disks {
		dir := filepath.Join(sys, "block", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string]string{"serial": d[0], "dev": d[1]} {
			if content == "none" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return sys
}

func TestAwaitDisk(t *testing.T) {
	sys := fakeSysfs(t, map[string][2]string{
		"vda": {"", "254:0\n"}, "vdb": {"data", "254:16\n"}, "vdc": {"root", "254:32\n"},
		"vdd": {"none", "254:48\n"}, "vde": {"broken", "x\n"}, "vdf": {"gone", "none"}, "loop0": {"root", "7:0\n"},
	})
	want := disk{"vdc", unix.Mkdev(254, 32), "root"}
	if got, err := awaitDisk(sys, "root", time.Millisecond); got != want || err != nil {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, serial := range []string{"gone", "broken", "roo", ""} {
		if got, err := awaitDisk(sys, serial, time.Millisecond); err == nil || !strings.Contains(err.Error(), `there are: "data", "root"`) {
			t.Errorf("%q: %+v, %v", serial, got, err)
		}
	}
	if _, err := awaitDisk(t.TempDir(), "root", time.Millisecond); err == nil {
		t.Error("found a disk where there is none")
	}
}

func TestAwaitDiskThatComesLate(t *testing.T) {
	sys, late := t.TempDir(), fakeSysfs(t, map[string][2]string{"vda": {"root", "254:0\n"}})
	time.AfterFunc(30*time.Millisecond, func() { _ = os.Rename(filepath.Join(late, "block"), filepath.Join(sys, "block")) })
	if _, err := awaitDisk(sys, "root", 10*time.Second); err != nil {
		t.Error(err)
	}
}

func TestLinkDisks(t *testing.T) {
	dev := t.TempDir()
	if err := linkDisks(t.TempDir(), dev); err != nil {
		t.Error(err)
	}
	if names, err := os.ReadDir(dev); err != nil || len(names) > 0 {
		t.Errorf("without disks: %v, %v", names, err)
	}
	sys := fakeSysfs(t, map[string][2]string{"vda": {"root", "254:0\n"}, "vdb": {"../a b\xff", "254:16\n"}})
	for range 2 { // once more does not hurt
		if err := linkDisks(sys, dev); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]string{"virtio-root": "../../vda", "virtio-.._a_b_": "../../vdb"} {
		if got, err := os.Readlink(filepath.Join(dev, "disk/by-id", name)); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestNewTypes(t *testing.T) {
	const known = "nodev\tsysfs\nnodev\ttmpfs\n\text3\n\text2\n\text4\n\tfuseblk\n\tsquashfs\n"
	for _, tt := range []struct {
		filesystems string
		tried, want []string
	}{
		{known, nil, []string{"ext4", "squashfs"}},
		{known + "\txfs\n", []string{"ext4", "squashfs"}, []string{"xfs"}},
		{"nodev\tproc\n\text2\n\tvfat", nil, []string{"ext2", "vfat"}},
		{"nodev\tproc\n", nil, nil},
		{"", nil, nil},
	} {
		if got := newTypes([]byte(tt.filesystems), tt.tried); !slices.Equal(got, tt.want) {
			t.Errorf("%q after %q: %q, want %q", tt.filesystems, tt.tried, got, tt.want)
		}
	}
}

func TestDiskMounts(t *testing.T) {
	const mounts = "rootfs / rootfs rw 0 0\n" +
		"/dev/vda / ext4 rw,relatime 0 0\n" +
		"proc /proc proc rw,nosuid 0 0\n" +
		`/dev/vdb /mnt/a\040b\134 xfs rw 0 0` + "\n" +
		"/dev/vdc /ro ext4 ro,rwx 0 0\n" +
		"share /data virtiofs rw 0 0\n" +
		"broken\n"
	if got, want := diskMounts(mounts), []string{`/mnt/a b\`, "/"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`/a`: "/a", `\011x\012`: "\tx\n", `a\`: `a\`, `\04`: `\04`, `\999`: `\999`, `\134040`: `\040`, "": "", `\\040`: `\ `,
	} {
		if got := unescape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzDiskMounts(f *testing.F) {
	f.Add("/dev/vda / ext4 rw,relatime 0 0\n")
	f.Fuzz(func(t *testing.T, mounts string) {
		for _, m := range diskMounts(mounts) {
			if len(m) > len(mounts) {
				t.Fatalf("%q", m)
			}
		}
	})
}
