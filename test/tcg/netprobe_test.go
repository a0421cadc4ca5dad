//go:build tcg

package tcg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// atOnce is within which time a guest must be told that a target is refused.
const atOnce = 2 * time.Second

// probeNetwork is a guest's half: it tries each target and prints a line of it.
func probeNetwork() error {
	list, err := probes()
	if err != nil {
		return err
	}
	for _, probe := range list {
		start := time.Now()
		kind, target, _ := strings.Cut(probe, ":")
		verdict, err := try(kind, target)
		took := time.Since(start)
		if verdict == "refused" && took > atOnce {
			verdict = fmt.Sprintf("refused after %v", took.Round(time.Millisecond))
		}
		fmt.Println(probe, verdict)
		if err != nil {
			fmt.Fprintln(os.Stderr, probe, took.Round(time.Millisecond), err)
		}
	}
	return nil
}

// try returns "reached", "refused", "unknown" (a name) or "timeout".
func try(kind, target string) (verdict string, err error) {
	switch kind {
	case "tcp":
		err = tryTCP(target)
	case "udp":
		err = tryUDP(target)
	case "ping":
		err = tryPing(netip.MustParseAddr(target))
	case "name":
		_, err = net.DefaultResolver.LookupHost(context.Background(), target)
	default:
		return "", fmt.Errorf("no probe %q", kind)
	}
	var name *net.DNSError
	switch {
	case err == nil:
		return "reached", nil
	case errors.As(err, &name):
		return "unknown", err
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ETIMEDOUT):
		return "timeout", err
	}
	return "refused", err
}

const probeTime = 5 * time.Second

func tryTCP(target string) error {
	c, err := net.DialTimeout("tcp", target, probeTime)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(probeTime)); err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err == nil && len(b) == 0 {
		err = errors.New("connected, and nothing came")
	}
	return err
}

func tryUDP(target string) error {
	c, err := net.Dial("udp", target)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(probeTime)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("probe")); err != nil {
		return err
	}
	b := make([]byte, 2048)
	n, err := c.Read(b)
	if err == nil && !strings.HasSuffix(string(b[:n]), "probe") {
		err = fmt.Errorf("the answer is %q", b[:n])
	}
	return err
}

// tryPing sends an ICMP echo request, as an ordinary user's ping does.
func tryPing(target netip.Addr) error {
	family, protocol, request := unix.AF_INET6, unix.IPPROTO_ICMPV6, byte(128)
	var to unix.Sockaddr = &unix.SockaddrInet6{Addr: target.As16()}
	if target.Is4() {
		family, protocol, request = unix.AF_INET, unix.IPPROTO_ICMP, 8
		to = &unix.SockaddrInet4{Addr: target.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	timeout := unix.NsecToTimeval(probeTime.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return err
	}
	if err := unix.Connect(fd, to); err != nil {
		return err
	}
	if _, err := unix.Write(fd, append([]byte{request, 0, 0, 0, 0, 0, 0, 1}, "probe"...)); err != nil {
		return err
	}
	b := make([]byte, 128)
	n, err := unix.Read(fd, b)
	if err == nil && !strings.HasSuffix(string(b[:n]), "probe") {
		err = fmt.Errorf("the answer is % x", b[:n])
	}
	return err
}
