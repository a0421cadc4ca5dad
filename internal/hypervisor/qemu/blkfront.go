package qemu

import (
	"fmt"
	"slices"

	"github.com/holtvm/holt/internal/virtio"
)

// blkFrontend: the front end asks the device for its features and configuration
// space over the socket. It has options for how many queues there are and, for all
// of them, how long. Cache mode (config-wce) is the device's own.
func blkFrontend(dev virtio.Device) string {
	sizes := dev.QueueSizes()
	return fmt.Sprintf("vhost-user-blk-pci,num-queues=%d,queue-size=%d,config-wce=off", len(sizes), slices.Min(sizes))
}
