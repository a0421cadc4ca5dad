package qemu

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/holtvm/holt/internal/virtio/blk"
)

// oneSector is a disk that is never read.
type oneSector struct{ blk.Disk }

func (oneSector) Size() int64 { return 512 }

func TestBlkFrontend(t *testing.T) {
	for queues, want := range map[int]string{
		1: "vhost-user-blk-pci,num-queues=1,queue-size=256,config-wce=off,chardev=dev7",
		4: "vhost-user-blk-pci,num-queues=4,queue-size=256,config-wce=off,chardev=dev7",
	} {
		dev, err := blk.New(oneSector{}, blk.Options{Queues: queues}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		got, err := frontend(dev, "dev7")
		if err != nil || !slices.Equal(got, []string{"-device", want}) {
			t.Errorf("%d queues: %q, %v", queues, got, err)
		}
	}
}
