// Command hello is the smallest program that a benchmark can see in a guest: it
// writes one line and ends. With the argument "idle" it stays for an hour; with
// "answer" it writes the line again for each that it reads; with a number it stays for
// so many seconds, and prints the guest's interrupts before and after them. The same
// binary is Holt's guest program and, as /init, the whole user space of a bare QEMU
// guest.
package main

import (
	"bufio"
	"os"
	"strconv"
	"syscall"
	"time"
)

// settle is for what goes on just after the boot. Who measures it knows it.
const settle = 2 * time.Second

func main() {
	greet()
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case "idle":
		time.Sleep(time.Hour)
	case "answer":
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			greet()
		}
		return
	}
	seconds, err := strconv.Atoi(os.Args[1])
	if err == nil {
		err = watch(time.Duration(seconds) * time.Second)
	}
	if err != nil {
		_, _ = os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

func greet() {
	if _, err := os.Stdout.WriteString("hello from the guest\n"); err != nil {
		os.Exit(1)
	}
}

// watch is idle for d, and then prints the interrupts at the begin and at the end.
func watch(d time.Duration) error {
	if os.Getpid() == 1 {
		if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			return err
		}
	}
	time.Sleep(settle)
	before, err := os.ReadFile("/proc/interrupts")
	if err != nil {
		return err
	}
	time.Sleep(d)
	after, err := os.ReadFile("/proc/interrupts")
	if err != nil {
		return err
	}
	_, err = os.Stdout.WriteString(string(before) + "\n" + string(after) + "\n")
	return err
}
