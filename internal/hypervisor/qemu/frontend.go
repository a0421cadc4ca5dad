package qemu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/holtvm/holt/internal/virtio"
)

// standIn are the arguments that give the machine QEMU's own device of a type that
// QEMU has no vhost-user front end for. It is nil for the types that we serve.
func standIn(t virtio.DeviceType) []string {
	switch t {
	case virtio.TypeConsole:
		// With a single port there is no protocol for the coming and going of
		// ports: the driver has its console at once. It prints 16 bytes at a time
		// and spins until they are taken. The vCPU's own thread takes them (no
		// ioeventfd): on a busy host, another one may get its turn only when the
		// spinning one's is over, and 200 lines take seconds instead of 40 ms.
		return []string{"-device", "virtio-serial-pci,max_ports=1,ioeventfd=off", "-device", "virtconsole,chardev=console"}
	case virtio.TypeBalloon:
		return []string{"-device", "virtio-balloon-pci,free-page-reporting=on,deflate-on-oom=on"}
	}
	return nil
}

// served are the devices that we serve, in the order of their descriptors.
func served(devices []virtio.Device) []virtio.Device {
	return slices.DeleteFunc(slices.Clone(devices), func(d virtio.Device) bool { return standIn(d.Type()) != nil })
}

// frontend are the arguments that give the machine QEMU's vhost-user front end for
// dev, whose socket is the chardev of that id.
func frontend(dev virtio.Device, chardev string) ([]string, error) {
	device := ""
	var err error
	switch t := dev.Type(); t {
	case virtio.TypeFS:
		device, err = fsFrontend(dev)
	case virtio.TypeBlock:
		device = blkFrontend(dev)
	case virtio.TypeNet:
		return netFrontend(dev, chardev)
	case virtio.TypeVsock:
		device = "vhost-user-vsock-pci"
	case virtio.TypeEntropy:
		device = "vhost-user-rng-pci"
	default:
		err = fmt.Errorf("a virtio %s device (type %d): QEMU has no vhost-user front end for it", t, t)
	}
	return []string{"-device", device + ",chardev=" + chardev}, err
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
