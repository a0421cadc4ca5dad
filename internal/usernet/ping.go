package usernet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// dialEcho makes a socket to send echo requests to target: one of those that need
// no privilege if the host's net.ipv4.ping_group_range lets us, or else a raw
// one. A raw socket gets all ICMP messages of the target; filter returns the
// message in what was received, and whether it is for ident.
func dialEcho(target netip.Addr, ident uint16) (conn net.Conn, filter func([]byte) ([]byte, bool), err error) {
	conn, err = echoSocket(target, unix.SOCK_DGRAM)
	if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
		return conn, nil, err
	}
	return dialRawEcho(target, ident)
}

// dialRawEcho is dialEcho with a raw socket.
func dialRawEcho(target netip.Addr, ident uint16) (conn net.Conn, filter func([]byte) ([]byte, bool), err error) {
	conn, err = echoSocket(target, unix.SOCK_RAW)
	return conn, func(b []byte) ([]byte, bool) {
		if target.Is4() { // the IP header comes along
			if len(b) < header.IPv4MinimumSize || len(b) < int(header.IPv4(b).HeaderLength()) {
				return nil, false
			}
			b = b[header.IPv4(b).HeaderLength():]
		}
		return b, len(b) >= echoHeader && header.ICMPv4(b).Ident() == ident
	}, err
}

func echoSocket(target netip.Addr, kind int) (net.Conn, error) {
	domain, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	var to unix.Sockaddr
	if target.Is4() {
		to = &unix.SockaddrInet4{Addr: target.As4()}
	} else {
		domain, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
		to = &unix.SockaddrInet6{Addr: target.As16()}
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("open an ICMP socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "icmp")
	defer f.Close() // the connection has a duplicate
	if err := unix.Connect(fd, to); err != nil {
		return nil, fmt.Errorf("connect an ICMP socket: %w", err)
	}
	return net.FileConn(f)
}
