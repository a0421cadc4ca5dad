package hypervisor

import (
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/console"
	"github.com/holtvm/holt/internal/virtio/rng"
)

func TestKernelCmdline(t *testing.T) {
	const rest = "panic=-1 cryptomgr.notests backend=own users=own"
	for _, c := range []struct {
		name string
		m    Machine
		want string
	}{
		{"serial port", Machine{}, "quiet console=ttyS0 " + rest},
		{"kernel log", Machine{KernelLog: true}, "console=ttyS0 " + rest},
		// An early console that came before "quiet" would print until then.
		{
			"virtio console",
			Machine{Devices: []virtio.Device{&rng.Device{}, console.New(nil, 0, 0)}},
			"quiet earlycon=uart8250,io,0x3f8,115200 console=hvc0 " + rest,
		},
		{
			"kernel log on a virtio console",
			Machine{KernelLog: true, Devices: []virtio.Device{console.New(nil, 0, 0)}},
			"earlycon=uart8250,io,0x3f8,115200 console=hvc0 " + rest,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.m.Cmdline = "users=own"
			if got, err := c.m.KernelCmdline("backend=own"); err != nil || got != c.want {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
	if _, err := (Machine{Cmdline: strings.Repeat("x", 4096)}).KernelCmdline(); err == nil {
		t.Error("a line that no kernel takes is accepted")
	}
}
