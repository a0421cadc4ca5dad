//go:build tcg

package tcg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/vmtest"
)

// TestBadInput: each mistake has its own clear message, before any boot.
func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	config := func(name, text string) string {
		path := filepath.Join(dir, name+".json")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.WriteFile(file, []byte("no kernel, no root"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		says []string
	}{
		{"missing root", []string{"--rootfs", dir + "/none", "--", "true"}, []string{"root_path", dir + "/none", "existing directory"}},
		{"root of the wrong type", []string{"--rootfs", file, "--", "true"}, []string{"rootfs_path", file, "gzip"}},
		{"kernel that is no kernel", []string{"--kernel", file, "--", "true"}, []string{file, "not a kernel"}},
		{"missing kernel", []string{"--kernel", dir + "/none", "--", "true"}, []string{"kernel_path", dir + "/none"}},
		{"unknown kernel", []string{"--kernel", "nobody-has-this", "--", "true"}, []string{"nobody-has-this", "holt kernel ls"}},
		{"no vCPUs", []string{"-c", "0", "--", "true"}, []string{"vcpu_count", "0", "at least 1"}},
		{"too little memory", []string{"-m", "63", "--", "true"}, []string{"memory_mb", "63", "64"}},
		{"memory that is no size", []string{"-m", "lots", "--", "true"}, []string{"--memory", "lots", "512M"}},
		{"unknown rlimit", []string{"--rlimit", "RLIMIT_LUCK=1", "--", "true"}, []string{"RLIMIT_LUCK", "RLIMIT_NOFILE"}},
		{"soft above hard", []string{"--rlimit", "RLIMIT_NOFILE=10:5", "--", "true"}, []string{"RLIMIT_NOFILE=10:5", "soft"}},
		{"mapping with too many parts", []string{"-v", "a:b:c:d", "--", "true"}, []string{"a:b:c:d", "host:guest"}},
		{"guest path twice", []string{"-v", dir + ":/x", "-v", dir + ":/x:ro", "--", "true"}, []string{"mapped_dirs", "/x"}},
		{"host path missing", []string{"-v", dir + "/none:/x", "--", "true"}, []string{"mapped_dirs", dir + "/none", "exist"}},
		{"port 0", []string{"--config", config("port0", `{"port_map":["0:80"]}`), "--", "true"}, []string{"port_map", "0:80", "65535"}},
		{"port 70000", []string{"--config", config("port70000", `{"port_map":["80:70000"]}`), "--", "true"}, []string{"port_map", "80:70000", "65535"}},
		{"variable with a space", []string{"-e", "A B=1", "--", "true"}, []string{"A B", "--env"}},
		{"unknown JSON key", []string{"--config", config("key", `{"vcpus":1}`), "--", "true"}, []string{"vcpus", "unknown"}},
		{"broken JSON", []string{"--config", config("json", `{"vcpu_count":`), "--", "true"}, []string{"json"}},
		{"no program", nil, []string{"no program", "holt run -- echo hello"}},
		{"unknown backend", []string{"--backend", "xen", "--", "true"}, []string{"xen", "auto"}},
		{"unknown log level", []string{"--log-level", "loud", "--", "true"}, []string{"loud", "debug"}},
		{"unknown flag", []string{"--cores", "2", "--", "true"}, []string{"--cores", "holt run --help"}},
		{"console in a missing directory", []string{"--console-output", dir + "/none/log", "--", "true"}, []string{"console_output", dir + "/none"}},
		{"console that is a directory", []string{"--console-output", dir, "--", "true"}, []string{"console_output", dir}},
		{"console that cannot be made", []string{"--console-output", "/proc/holt-console", "--", "true"}, []string{"console_output", "/proc/holt-console"}},
		{"bad port", []string{"-p", "80:0", "--", "true"}, []string{`"80:0"`, "1 to 65535"}},
		{"port for the world of a local guest", []string{"--network", "local", "-p", "0.0.0.0:8080:80", "--", "true"}, []string{"port_map", "loopback"}},
		{"port without a network", []string{"--network", "none", "-p", "80", "--", "true"}, []string{"port_map", "none"}},
		{"unknown network", []string{"--network", "bridge", "--", "true"}, []string{"bridge", "none, local, public, all"}},
		{"bad rule", []string{"--allow", "10.0.0.1/8", "--", "true"}, []string{"10.0.0.1/8", "10.0.0.0/8"}},
		{"bad address", []string{"--ip", "10.0.2.255", "--", "true"}, []string{"assigned_ip", "10.0.2.255"}},
		{"bad resolver", []string{"--dns", "resolver", "--", "true"}, []string{"resolver", "192.0.2.1"}},
		{"capture in a missing directory", []string{"--pcap", dir + "/none/pcap", "--", "true"}, []string{"packet_capture", dir + "/none"}},
		{"bad quota", []string{"--cpu-quota", "10", "--", "true"}, []string{"cpu_quota_us", "1000"}},
		{"bad CPUs", []string{"-c", "many", "--", "true"}, []string{"many", "0.5"}},
		{"missing disk", []string{"--disk", dir + "/none.img", "--", "true"}, []string{"disks", dir + "/none.img"}},
		{"several at once", []string{"-c", "0", "-m", "1", "-w", "x", "--", "true"}, []string{"vcpu_count", "memory_mb", "workdir_path"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := vmtest.Run(t, append([]string{"run"}, c.args...)...)
			if r.Code != 125 || r.Stdout != "" {
				t.Errorf("exit status %d, printed %q", r.Code, r.Stdout)
			}
			for _, text := range c.says {
				if !strings.Contains(r.Stderr, text) {
					t.Errorf("no %q in:\n%s", text, r.Stderr)
				}
			}
			for line := range strings.Lines(r.Stderr) {
				if !strings.HasPrefix(line, "holt: ") {
					t.Errorf("a line that is not marked as holt's: %q", line)
				}
			}
		})
	}
	vmtest.NothingLeft(t)
}

func TestNoQEMU(t *testing.T) {
	r := vmtest.Command{Args: []string{"run", "--", "true"}, Env: []string{"PATH=" + t.TempDir()}}.Run(t)
	if r.Code != 125 || !strings.Contains(r.Stderr, "qemu-system-x86_64 is not installed") || !strings.Contains(r.Stderr, "apt-get install") {
		t.Errorf("exit status %d, %q", r.Code, r.Stderr)
	}
}

func TestNoKernel(t *testing.T) {
	r := vmtest.Command{Args: []string{"run", "--rootfs", "/", "--overlay", "--", "true"}, Env: []string{"HOLT_HOME=" + t.TempDir()}}.Run(t)
	if r.Code != 125 || !strings.Contains(r.Stderr, "holt setup") {
		t.Errorf("exit status %d, %q", r.Code, r.Stderr)
	}
}

func TestNoBaseRoot(t *testing.T) {
	r := vmtest.Command{Args: []string{"run", "--", "true"}, Env: []string{"HOLT_HOME=" + t.TempDir()}}.Run(t)
	if r.Code != 125 || !strings.Contains(r.Stderr, "holt setup") || !strings.Contains(r.Stderr, "--rootfs") {
		t.Errorf("exit status %d, %q", r.Code, r.Stderr)
	}
}

// TestFullDisk: no room for the VM's directory is an error that says where.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=700"); err != nil {
		t.Fatalf("make a small file system (as root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	r := vmtest.Command{Args: []string{"run", "--", "true"}, Env: []string{"XDG_RUNTIME_DIR=" + dir, "HOLT_HOME="}}.Run(t)
	if r.Code != 125 || !strings.Contains(r.Stderr, dir) || !strings.Contains(r.Stderr, "no space left") {
		t.Errorf("exit status %d: %s", r.Code, r.Stderr)
	}
}

func TestDryRunPrintsTheMergedConfig(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vm.json")
	if err := os.WriteFile(path, []byte(`{"vcpu_count":3,"memory_mb":100,"root_path":"/","exec_path":"/bin/a","args":["b"]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	first := vmtest.Run(t, "run", "--config", path, "-m", "1G", "-e", "K=V", "--dry-run", "--", "/bin/c")
	want := `{
  "vcpu_count": 3,
  "memory_mb": 1024,
  "root_path": "/",
  "exec_path": "/bin/c",
  "env": [
    "K=V"
  ]
}
`
	first.Want(t, 0, want)
	if err := os.WriteFile(path, []byte(first.Stdout), 0o644); err != nil {
		t.Fatal(err)
	}
	vmtest.Run(t, "run", "--config", path, "--dry-run").Want(t, 0, want) // its own output is a config
}
