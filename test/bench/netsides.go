package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/usernet"
)

// ourCard are the options that Holt's qemu backend gives to the front end of its
// card: no control queue, and no MSI-X, with which QEMU 7.2 without KVM crashes.
const ourCard = "rx_queue_size=256,tx_queue_size=256,vectors=0,disable-legacy=on," +
	"ctrl_vq=off,ctrl_rx=off,ctrl_rx_extra=off,ctrl_vlan=off,ctrl_mac_addr=off,ctrl_guest_offloads=off,guest_announce=off,mq=off"

// netSides are our network, QEMU's own, and passt or nil.
func (b *bench) netSides(plan usernet.Layout) (ours, slirp, passt *side) {
	card := "virtio-net-pci,netdev=net,mac=" + plan.GuestMAC.String()
	ours = &side{name: "holt", attach: func() (attachment, error) {
		cmd, err := b.serving(serveNetwork, guestNetwork.String())
		if err != nil {
			return attachment{}, err
		}
		return b.overSocket(cmd, "-netdev", "vhost-user,id=net,chardev=device", "-device",
			fmt.Sprintf("%s,host_mtu=%d,%s", card, usernet.DefaultMTU, ourCard))
	}}
	slirp = &side{name: "QEMU's own network (slirp)", attach: func() (attachment, error) {
		return attachment{args: []string{
			"-netdev", fmt.Sprintf("user,id=net,net=%s,host=%s", guestNetwork.Masked(), plan.Host4), "-device", card,
		}}, nil
	}}
	if program, err := exec.LookPath("passt"); err == nil {
		passt = &side{name: "passt", attach: func() (attachment, error) { return attachPasst(program, plan, card) }}
	}
	return ours, slirp, passt
}

// attachPasst starts passt on one end of a pair of sockets, and gives the other
// to QEMU. For passt the gateway stands for the host.
func attachPasst(program string, plan usernet.Layout, card string) (a attachment, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return a, fmt.Errorf("make a socket for passt: %w", err)
	}
	a.files = []*os.File{os.NewFile(uintptr(pair[0]), "socket")}
	cmd := exec.Command(program, "--foreground", "--quiet", "--stderr", "--fd", strconv.Itoa(inheritedFD),
		"--ipv4-only", "--address", plan.Guest4.Addr().String(), "--netmask", strconv.Itoa(plan.Guest4.Bits()),
		"--gateway", plan.Host4.String(), "--mtu", strconv.Itoa(passtMTU))
	if a.server, err = startWith(cmd, os.NewFile(uintptr(pair[1]), "socket")); err != nil {
		a.files[0].Close()
		return a, err
	}
	a.args = []string{
		"-netdev", fmt.Sprintf("stream,id=net,server=off,addr.type=fd,addr.str=%d", inheritedFD),
		"-device", fmt.Sprintf("%s,host_mtu=%d", card, passtMTU),
	}
	return a, nil
}
