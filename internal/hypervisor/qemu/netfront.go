package qemu

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"

	"github.com/holtvm/holt/internal/virtio"
)

// noControl are the features that need a control queue. QEMU would offer one of its
// own, which our device does not have: a guest is to see the same card everywhere.
var noControl = []string{
	"ctrl_vq", "ctrl_rx", "ctrl_rx_extra", "ctrl_vlan", "ctrl_mac_addr", "ctrl_guest_offloads", "guest_announce", "mq",
}

// netFrontend: the front end serves the configuration space itself, so what the
// device says there (virtio 1.2, 5.1.4) becomes its options. There is no firmware
// to boot from the network. QEMU 7.2 without KVM crashes when the driver starts a
// vhost-user card that has MSI-X, so this one has one interrupt line (vectors=0).
func netFrontend(dev virtio.Device, chardev string) ([]string, error) {
	var config [12]byte // mac, status, max_virtqueue_pairs, mtu
	dev.ReadConfig(0, config[:])
	sizes := dev.QueueSizes()
	if len(sizes) != 2 {
		return nil, fmt.Errorf("a virtio net device with %d queues: 2 are needed", len(sizes))
	}
	netdev := "net-" + chardev
	return []string{
		"-netdev", "vhost-user,id=" + netdev + ",chardev=" + chardev,
		"-device", fmt.Sprintf("virtio-net-pci,netdev=%s,mac=%s,host_mtu=%d,rx_queue_size=%d,tx_queue_size=%d,romfile=,vectors=0,disable-legacy=on,%s=off",
			netdev, net.HardwareAddr(config[:6]), binary.LittleEndian.Uint16(config[10:]),
			sizes[0], sizes[1], strings.Join(noControl, "=off,")),
	}, nil
}
