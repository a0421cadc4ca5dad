package mmio

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtiotest"
)

// TestManyVCPUs has vCPUs write to the device as they like, all at once, while
// the machine pauses and goes on. Afterwards it works for an honest driver.
func TestManyVCPUs(t *testing.T) {
	dev := &mirror{}
	d := attach(t, dev)
	rings := []*virtiotest.Ring{
		virtiotest.NewRing(t, d.mem, ringAt, 16), virtiotest.NewRing(t, d.mem, ringAt+0x1000, 64),
	}
	for _, r := range rings {
		offer(r, dataAt, "again and again")
		r.SetAvailIdx(r.Size)
	}
	end := time.Now().Add(300 * time.Millisecond)
	var vcpus sync.WaitGroup
	for n := range 4 {
		vcpus.Go(func() {
			vcpu := &driver{Transport: d.Transport, t: t, mem: d.mem, ioeventfd: n%2 == 0}
			for time.Now().Before(end) {
				switch rand.N(8) {
				case 0:
					vcpu.put(regStatus, rand.N(uint32(256)))
				case 1:
					vcpu.Reset()
				case 2, 3:
					vcpu.put(regStatus, 3)
					vcpu.accept(virtio.FeatureVersion1)
					vcpu.put(regStatus, 0xb)
					for i, r := range rings {
						vcpu.SetupQueue(i, r.Size, r.DescAddr, r.AvailAddr, r.UsedAddr)
					}
					vcpu.put(regStatus, 0xf)
				case 4:
					vcpu.Kick(rand.N(2))
				case 5:
					vcpu.put(4*rand.N(uint64(regConfig/4)), rand.Uint32())
				case 6:
					vcpu.get(4 * rand.N(uint64(WindowSize/4)))
				case 7:
					vcpu.WriteConfig(rand.N(uint32(8)), []byte{1, 2})
				}
			}
		})
	}
	for time.Now().Before(end) {
		d.Pause()
		if _, err := d.Save(); err != nil {
			t.Error(err)
		}
		d.Resume()
	}
	vcpus.Wait()
	d.Reset()
	signalled(d.InterruptFD(), 0)
	d.Accept(virtio.FeatureVersion1)
	r := d.startRing(1, ringAt, 16)
	d.Start()
	d.echoes(1, r, "in order")
}
