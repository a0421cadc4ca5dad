//go:build tcg

package tcg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/vmtest"
)

// ownKernel is the name of the newest kernel in the store that `holt kernel build`
// made.
func ownKernel(t *testing.T) string {
	t.Helper()
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	kernels, err := kernel.Open(dirs).List()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(kernels, func(k kernel.Kernel) bool { return strings.HasSuffix(k.Version, "-holt") })
	if i < 0 {
		t.Fatal("Holt's own kernel is not in the store: run `make kernel`")
	}
	return kernels[i].Name
}

// onOwnKernel runs a shell script on Holt's own kernel, in a Debian root with what
// the scripts of this file use.
func onOwnKernel(t *testing.T, script string) vmtest.Result {
	t.Helper()
	root := vmtest.DebianRoot(t)
	// One CPU: these programs make the kernel patch its own code while it runs
	// (Docker's CPU limit does), which QEMU's emulation of several CPUs does not
	// always survive.
	return vmtest.Run(t, "run", "--kernel", ownKernel(t), "--rootfs", root, "--overlay", "-m", "1G", "--", "sh", "-ec", script)
}

// TestOwnKernel looks at Holt's own kernel with a program in Go.
func TestOwnKernel(t *testing.T) {
	t.Parallel()
	args := vmtest.GuestHalf(t, "kernel", "--kernel", ownKernel(t), "-c", "2", "-m", "1G")
	vmtest.Run(t, args...).Want(t, 0, "fine\n")
}

// inspectKernel is the guest's half.
func inspectKernel() error {
	var errs []error
	// What is not there at all says ENOSYS; all others dislike these arguments.
	for name, nr := range map[string]uintptr{
		"bpf": unix.SYS_BPF, "cachestat": unix.SYS_CACHESTAT, "fanotify_init": unix.SYS_FANOTIFY_INIT, "futex_waitv": unix.SYS_FUTEX_WAITV,
		"io_setup": unix.SYS_IO_SETUP, "io_uring_setup": unix.SYS_IO_URING_SETUP, "kcmp": unix.SYS_KCMP, "keyctl": unix.SYS_KEYCTL,
		"landlock_create_ruleset": unix.SYS_LANDLOCK_CREATE_RULESET, "membarrier": unix.SYS_MEMBARRIER, "memfd_secret": unix.SYS_MEMFD_SECRET,
		"mq_open": unix.SYS_MQ_OPEN, "name_to_handle_at": unix.SYS_NAME_TO_HANDLE_AT, "perf_event_open": unix.SYS_PERF_EVENT_OPEN,
		"pkey_alloc": unix.SYS_PKEY_ALLOC, "process_vm_readv": unix.SYS_PROCESS_VM_READV, "rseq": unix.SYS_RSEQ, "seccomp": unix.SYS_SECCOMP,
		"semget": unix.SYS_SEMGET, "swapon": unix.SYS_SWAPON, "userfaultfd": unix.SYS_USERFAULTFD,
	} {
		if _, _, errno := unix.Syscall6(nr, 0, 0, ^uintptr(0), ^uintptr(0), ^uintptr(0), 0); errno == unix.ENOSYS {
			errs = append(errs, fmt.Errorf("no system call %s", name))
		}
	}
	for path, words := range map[string]string{
		"/proc/filesystems":                                   "autofs bpf ext4 erofs fuse iso9660 mqueue overlay squashfs tmpfs vfat virtiofs",
		"/sys/fs/cgroup/cgroup.controllers":                   "cpu cpuset hugetlb io memory pids",
		"/sys/kernel/security/lsm":                            "capability landlock",
		"/sys/kernel/mm/transparent_hugepage/enabled":         "[madvise]",
		"/proc/sys/net/ipv4/tcp_available_congestion_control": "bbr cubic",
	} {
		if path == "/sys/kernel/security/lsm" {
			if err := unix.Mount("securityfs", "/sys/kernel/security", "securityfs", 0, ""); err != nil {
				errs = append(errs, fmt.Errorf("mount securityfs: %w", err))
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, err)
		}
		have := strings.FieldsFunc(string(b), func(r rune) bool { return strings.ContainsRune(" \t\n,", r) })
		for word := range strings.FieldsSeq(words) {
			if !slices.Contains(have, word) {
				errs = append(errs, fmt.Errorf("%s: no %s in %q", path, word, b))
			}
		}
	}
	for _, path := range []string{
		"/dev/fuse", "/dev/loop-control", "/dev/net/tun", "/dev/ptmx", "/dev/hwrng", "/proc/config.gz", "/proc/self/ns/time", "/proc/self/ns/user",
	} {
		if _, err := os.Stat(path); err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := os.Stat("/proc/modules"); err == nil {
		errs = append(errs, errors.New("there are modules"))
	}
	if drivers, _ := filepath.Glob("/sys/bus/virtio/drivers/*/virtio*"); len(drivers) < 3 {
		errs = append(errs, fmt.Errorf("virtio devices with drivers: %q", drivers))
	}
	if errs == nil {
		fmt.Println("fine")
	}
	return errors.Join(errs...)
}

func TestOwnKernelRunsPrograms(t *testing.T) {
	t.Parallel()
	onOwnKernel(t, `
python3 -c 'import os; r, w = os.pipe(); os.fork() or os._exit(os.write(w, b"python\n") and 0); print(os.read(r, 9).decode(), end="", flush=True)'
node -e 'const {Worker} = require("worker_threads"); new Worker("console.log(\"node\")", {eval: true})'
unshare --user --map-root-user --pid --fork --net --mount-proc sh -c 'echo "namespaces $$"'
`).Want(t, 0, "python\nnode\nnamespaces 1\n")
}

// TestOwnKernelRunsSystemd starts systemd as the first process of a PID namespace
// and waits until it is done starting.
func TestOwnKernelRunsSystemd(t *testing.T) {
	t.Parallel()
	onOwnKernel(t, `
cat >/etc/systemd/system/started.service <<'END'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=sh -c 'systemctl --failed --plain --no-legend >/result; systemctl is-active dbus.service multi-user.target >>/result; systemctl exit 42'
[Install]
WantedBy=multi-user.target
END
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -s ../started.service /etc/systemd/system/multi-user.target.wants/
ln -s /dev/null /etc/systemd/system/docker.service
status=0
container=holt unshare --pid --fork --mount --mount-proc --cgroup --ipc --uts /lib/systemd/systemd --system --log-target=console >/log 2>&1 || status=$?
cat /result || cat /log
exit $status
`).Want(t, 42, "active\nactive\n")
}

// TestOwnKernelRunsDocker starts dockerd, which sets up its bridge and the packet
// filter, and runs containers without a network, on the bridge, and with a
// published port.
func TestOwnKernelRunsDocker(t *testing.T) {
	t.Parallel()
	r := onOwnKernel(t, `
mkdir -p /var/lib/docker
mount -t tmpfs docker /var/lib/docker
dockerd >/log 2>&1 &
tries=0
until docker version >/dev/null 2>&1; do
	tries=$((tries + 1)); [ $tries -lt 300 ] || { cat /log >&2; exit 1; }
	sleep 0.1
done
docker info --format '{{.Driver}}, cgroups {{.CgroupVersion}}' 2>/dev/null
mkdir -p /image/bin /image/www
cp /bin/busybox /image/bin/
echo served >/image/www/page
tar -C /image -c . | docker import - test >/dev/null
docker run --rm --network none --memory 32m --pids-limit 20 --cpus 0.5 test /bin/busybox echo alone 2>/dev/null
docker run --detach --name web --publish 8080:80 test /bin/busybox httpd -f -h /www >/dev/null
web=$(docker inspect --format '{{.NetworkSettings.IPAddress}}' web)
docker run --rm test /bin/busybox wget -q -O - http://$web/page
busybox wget -q -O - http://127.0.0.1:8080/page
docker exec web /bin/busybox hostname >/name
[ -s /name ] || exit 1
`)
	r.Want(t, 0, "overlay2, cgroups 2\nalone\nserved\nserved\n")
	t.Logf("in %v", r.Time)
}
