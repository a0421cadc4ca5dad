package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const card = "eth0"

// setUp gives the network card an address and brings it up. Its MTU stays what the
// device told the driver, or else 1500.
func setUp(address, mask [4]byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, s := range []struct {
		what string
		call uint
		set  func(*unix.Ifreq) error
	}{
		{"address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address[:]) }},
		{"netmask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask[:]) }},
		{"state", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP); return nil }},
	} {
		request, err := unix.NewIfreq(card)
		if err != nil {
			return err
		}
		if err := s.set(request); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, s.call, request); err != nil {
			return fmt.Errorf("set the %s of %s: %w", s.what, card, err)
		}
	}
	return nil
}
