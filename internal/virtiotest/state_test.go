package virtiotest

import (
	"testing"

	"github.com/holtvm/holt/internal/virtio"
)

func TestEchoState(t *testing.T) {
	StateSuite(t, func(t *testing.T) virtio.Device { return newEcho(t) }, func(t *testing.T, d *Driver, again bool) {
		config := make([]byte, 4)
		d.Dev.ReadConfig(0, config)
		if want := map[bool]string{false: "echo", true: "used"}[again]; string(config) != want {
			t.Errorf("the configuration begins with %q, want %q", config, want)
		}
		d.Dev.WriteConfig(0, []byte("used"))
		for i := range d.Dev.QueueSizes() {
			if got := d.Queue(i).Do([]byte("request"), 20); string(got) != "request" {
				t.Errorf("queue %d: %q", i, got)
			}
		}
	})
}
