package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// scrubbed is how much memory a scrub writes to, in bytes: more than a guest and
// its monitor have.
const scrubbed = 512 << 20

// scrub makes an emulated machine forget the guest that ran last. QEMU keeps what
// it translated of each page of code until the page is written, and then looks
// after it byte by byte. Who is given a dead guest's memory would pay for that, a
// second for a kernel's, which no real machine takes: so it is written to here.
func scrub() error {
	b, err := unix.Mmap(-1, 0, scrubbed, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("scrub memory: %w", err)
	}
	return unix.Munmap(b)
}
