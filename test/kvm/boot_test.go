//go:build kvm

package kvm

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/vmtest"
)

// world is what a guest finds of its machine.
type world struct {
	Online   string // CPUs, as the kernel lists them
	Usable   int    // CPUs that a program may run on
	RAM      uint64 // bytes of memory that the kernel was told of
	MemTotal uint64 // bytes that it has left
	Highest  uint64 // the highest physical address that the test touched
	Clock    string // the kernel's clock source
}

// Sizes of what the guest touches, in bytes.
const (
	megabyte = 1 << 20
	spread   = 3584 * megabyte // one page of every other megabyte, of a large guest
	solid    = 32 * megabyte   // all of it
)

// TestBoots boots machines with few and many vCPUs, with little memory and with
// memory on both sides of the window below 4 GiB.
func TestBoots(t *testing.T) {
	eachKernel(t, func(t *testing.T, kernel string) {
		for _, c := range []struct {
			cpus   int
			mib    uint64
			online string
		}{
			{1, 128, "0"},
			{2, 1024, "0-1"},
			{4, 6144, "0-3"},
		} {
			t.Run(fmt.Sprintf("%d CPUs, %d MiB", c.cpus, c.mib), func(t *testing.T) {
				r := vmtest.Run(t, vmtest.GuestHalf(t, "world", "--backend", "kvm", "--kernel", kernel,
					"-c", fmt.Sprint(c.cpus), "-m", fmt.Sprint(c.mib))...)
				var w world
				if err := json.Unmarshal([]byte(r.Stdout), &w); r.Code != 0 || err != nil {
					t.Fatalf("exit status %d, %v: %q, %s", r.Code, err, r.Stdout, r.Stderr)
				}
				t.Logf("%v: %+v", r.Time, w)
				if w.Online != c.online || w.Usable != c.cpus {
					t.Errorf("CPUs %s are online, %d can be used", w.Online, w.Usable)
				}
				// The kernel takes the first page away, and a PC's legacy hole is none.
				size := c.mib * megabyte
				if w.RAM > size || w.RAM < size-megabyte {
					t.Errorf("the guest was told of %d bytes of memory", w.RAM)
				}
				if w.MemTotal > size || w.MemTotal < size/10*6 {
					t.Errorf("the guest's kernel has left %d bytes of memory", w.MemTotal)
				}
				if end := size + 1<<30; c.mib > 4096 && (w.Highest < 4<<30 || w.Highest >= end) {
					t.Errorf("the highest address touched is %#x, it should be between 4 GiB and %#x", w.Highest, end)
				}
				if w.Clock != "kvm-clock" && w.Clock != "tsc" {
					t.Errorf("the guest's clock source is %s", w.Clock)
				}
			})
		}
	})
	vmtest.NothingLeft(t)
}

// inspectMachine is the guest's half.
func inspectMachine() error {
	var w world
	online, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return err
	}
	w.Online = strings.TrimSpace(string(online))
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return err
	}
	w.Usable = set.Count()
	if w.RAM, err = systemRAM(); err != nil {
		return err
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err
	}
	w.MemTotal = info.Totalram * uint64(info.Unit)
	clock, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	if err != nil {
		return err
	}
	w.Clock = strings.TrimSpace(string(clock))
	if _, err := touch(solid, 8); err != nil {
		return err
	}
	if w.MemTotal > 4<<30 {
		if w.Highest, err = touch(spread, 2*megabyte); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(w)
}

// systemRAM adds up the memory that the firmware, which is us, told of.
func systemRAM() (total uint64, err error) {
	text, err := os.ReadFile("/proc/iomem")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var from, to uint64
		if _, err := fmt.Sscanf(line, "%x-%x : System RAM", &from, &to); err == nil {
			total += to - from + 1
		}
	}
	return total, nil
}

// touch writes a number, different each time, every step bytes of fresh memory,
// and then reads all of them. It returns the highest physical address of those.
func touch(size, step int) (highest uint64, err error) {
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(mem)
	_ = unix.Madvise(mem, unix.MADV_NOHUGEPAGE) // one byte is to be one page; a kernel without huge pages refuses
	const stride = 0x9E3779B97F4A7C15
	for at, v := 0, uint64(1); at < size; at, v = at+step, v+stride {
		binary.LittleEndian.PutUint64(mem[at:], v)
	}
	for at, v := 0, uint64(1); at < size; at, v = at+step, v+stride {
		if got := binary.LittleEndian.Uint64(mem[at:]); got != v {
			return 0, fmt.Errorf("%d bytes into %d: read %#x, wrote %#x", at, size, got, v)
		}
	}
	if step < os.Getpagesize() {
		return 0, nil
	}
	return highestAddress(mem, step)
}

// highestAddress finds where the kernel keeps mem (Linux,
// Documentation/admin-guide/mm/pagemap.rst).
func highestAddress(mem []byte, step int) (highest uint64, err error) {
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return 0, err
	}
	defer pagemap.Close()
	page, entry := uint64(os.Getpagesize()), make([]byte, 8)
	for at := uint64(0); at < uint64(len(mem)); at += uint64(step) {
		if _, err := pagemap.ReadAt(entry, int64((address(mem)+at)/page*8)); err != nil {
			return 0, err
		}
		const present, frame = 1 << 63, 1<<55 - 1
		v := binary.LittleEndian.Uint64(entry)
		if v&present == 0 {
			return 0, fmt.Errorf("%d bytes into %d: not in memory any more", at, len(mem))
		}
		highest = max(highest, v&frame*page)
	}
	return highest, nil
}
