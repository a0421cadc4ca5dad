// Command hello is the smallest program that a benchmark can see in a guest: it
// writes one line and ends, or with the argument "idle" stays for an hour. The
// same binary is Holt's guest program and, as /init, the whole user space of a
// bare QEMU guest.
package main

import (
	"os"
	"time"
)

func main() {
	if _, err := os.Stdout.WriteString("hello from the guest\n"); err != nil {
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == "idle" {
		time.Sleep(time.Hour)
	}
}
