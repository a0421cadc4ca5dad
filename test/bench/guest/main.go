// Command guest is /init of the guest that measures a device: a shared directory,
// a disk or a network. Each workload is announced on the console when it begins
// and when it ends, with the amount of work done: the host takes the time, because
// the clock of an emulated guest on a busy host is not to be relied on.
package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	mib       = 1 << 20
	blockSize = 4096 // bytes of a random access
)

// step is one workload. do returns how much it did.
type step struct {
	name    string
	prepare func() error // not measured; may be nil
	do      func() (amount float64, err error)
}

// kinds are the kinds of device, each with what makes it ready for its steps.
var kinds = map[string]func() ([]step, error){
	"fs":  newShareWork,
	"blk": newDiskWork,
	"net": newNetWork,
}

func main() {
	if err := run(); err != nil {
		fmt.Println("bench: failed:", err)
		// The console's last line is out when this is called.
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
	_ = unix.Pause() // the host ends us when it has taken the last time
}

func run() error {
	if err := loadModules(); err != nil {
		return err
	}
	if err := mount("proc", "proc", "/proc"); err != nil {
		return err
	}
	kind := os.Getenv("BENCH_KIND")
	begin, ok := kinds[kind]
	if !ok {
		return fmt.Errorf("there is no kind of device %q", kind)
	}
	steps, err := begin()
	if err != nil {
		return err
	}
	for _, step := range steps {
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

// settings reads numbers that the kernel handed on from its command line.
func settings(list map[string]*int) error {
	for name, to := range list {
		n, err := strconv.Atoi(os.Getenv("BENCH_" + name))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*to = n
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

// aligned returns memory that a file without a cache can be read into.
func aligned(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}
