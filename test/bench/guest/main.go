// Command guest is /init of the guest that measures a shared directory: it
// mounts the directory and works on it. Each workload is announced on the
// console when it begins and when it ends, with the amount of work done: the
// host takes the time, because the clock of an emulated guest on a busy host is
// not to be relied on.
package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// share is where the directory with the tag "bench" is mounted.
const share = "/share"

func main() {
	err := run()
	if err != nil {
		fmt.Println("bench: failed:", err)
	}
	// Back to the host: the console's last line is out when this is called.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	if err := loadModules(); err != nil {
		return err
	}
	if err := mount("proc", "proc", "/proc"); err != nil {
		return err
	}
	if err := mount("bench", "virtiofs", share); err != nil {
		return err
	}
	w := work{}
	for name, to := range map[string]*int{"BENCH_MIB": &w.mib, "BENCH_READS": &w.reads, "BENCH_FILES": &w.files} {
		n, err := strconv.Atoi(os.Getenv(name)) // the kernel hands it on from its command line
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*to = n
	}
	for _, step := range []struct {
		name    string
		prepare func() error
		do      func() (amount float64, err error)
	}{
		{"write", nil, w.write},
		{"read", dropCaches, w.read},
		{"random-read", dropCaches, w.randomRead},
		{"unpack", w.makeArchive, w.unpack},
		{"tree-read", dropCaches, w.readTree},
	} {
		if step.prepare != nil {
			if err := step.prepare(); err != nil {
				return fmt.Errorf("prepare %s: %w", step.name, err)
			}
		}
		fmt.Println("bench: begin", step.name)
		amount, err := step.do()
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println("bench: end", step.name, amount)
	}
	return nil
}

func mount(source, kind, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, kind, 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	return nil
}

func dropCaches() error {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}
