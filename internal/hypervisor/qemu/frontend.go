package qemu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/holtvm/holt/internal/virtio"
)

// frontend is the -device option, without its chardev, of QEMU's vhost-user
// front end for dev.
func frontend(dev virtio.Device) (string, error) {
	switch t := dev.Type(); t {
	case virtio.TypeFS:
		return fsFrontend(dev)
	case virtio.TypeVsock:
		return "vhost-user-vsock-pci", nil
	case virtio.TypeEntropy:
		return "vhost-user-rng-pci", nil
	default:
		return "", fmt.Errorf("a virtio %s device (type %d): QEMU has no vhost-user front end for it", t, t)
	}
}

// fsFrontend: the front end serves the configuration space itself, so what the
// device says there (virtio 1.2, 5.11.4) becomes its options. One queue size
// holds for all queues.
func fsFrontend(dev virtio.Device) (string, error) {
	const tagSize = 36
	var config [tagSize + 4]byte
	dev.ReadConfig(0, config[:])
	tag, _, _ := bytes.Cut(config[:tagSize], []byte{0})
	if len(tag) == 0 {
		return "", fmt.Errorf("a virtio fs device without a tag")
	}
	queues := binary.LittleEndian.Uint32(config[tagSize:])
	if sizes := dev.QueueSizes(); uint32(len(sizes)) != queues+1 {
		return "", fmt.Errorf("virtio fs device %q: %d request queues announced, %d queues in all", tag, queues, len(sizes))
	}
	return fmt.Sprintf("vhost-user-fs-pci,tag=%s,num-request-queues=%d,queue-size=%d",
		escape(string(tag)), queues, slices.Min(dev.QueueSizes())), nil
}
