package qemu

import (
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/virtio"
)

func netStub(sizes ...uint16) stub {
	return stub{kind: virtio.TypeNet, sizes: sizes, config: []byte{2, 0, 0, 0, 0, 0xab, 1, 0, 1, 0, 0xf0, 0xff}}
}

func TestNetFrontend(t *testing.T) {
	args, err := frontend(netStub(256, 512), "dev3")
	if err != nil || len(args) != 4 {
		t.Fatalf("%q, %v", args, err)
	}
	if args[0] != "-netdev" || args[1] != "vhost-user,id=net-dev3,chardev=dev3" || args[2] != "-device" {
		t.Errorf("arguments %q", args)
	}
	options := strings.Split(args[3], ",")
	for _, want := range []string{
		"virtio-net-pci", "netdev=net-dev3", "mac=02:00:00:00:00:ab", "host_mtu=65520",
		"rx_queue_size=256", "tx_queue_size=512", "romfile=", "vectors=0", "ctrl_vq=off", "ctrl_rx=off", "guest_announce=off", "mq=off",
	} {
		if !slices.Contains(options, want) {
			t.Errorf("no %s in %q", want, options)
		}
	}
	for _, bad := range []stub{netStub(), netStub(256), netStub(256, 256, 64)} {
		if _, err := frontend(bad, "dev0"); err == nil || !strings.Contains(err.Error(), "2 are needed") {
			t.Errorf("%d queues: %v", len(bad.sizes), err)
		}
	}
}
