package guestmem

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestHugePagesFit: guest and host address are equal modulo a huge page, so that
// one can back the other.
func TestHugePagesFit(t *testing.T) {
	regions := []Region{
		{GuestAddr: 0, Size: 3 * hugePage},
		{GuestAddr: 3*hugePage + page, Size: page}, // on no huge page's border
		{GuestAddr: 5*hugePage - page, Size: 2 * hugePage},
		{GuestAddr: 3<<30 - 4<<20, Size: 4 << 20},
		{GuestAddr: 4 << 30, Size: 1 << 30},
	}
	for range 10 {
		m, err := Map(regions)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for _, r := range regions {
			host, err := m.Slice(r.GuestAddr, r.Size)
			if err != nil {
				t.Fatal(err)
			}
			if got := address(host); got%hugePage != r.GuestAddr%hugePage {
				t.Errorf("guest address %#x is at host address %#x", r.GuestAddr, got)
			}
			host[0], host[len(host)-1] = 1, 2 // all of it is there
		}
		// The next ones do not begin on the same border.
		odd, err := unix.Mmap(-1, 0, page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Munmap(odd)
	}
}
