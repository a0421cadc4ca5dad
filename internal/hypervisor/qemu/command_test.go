package qemu

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/boot"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/virtio"
)

var update = flag.Bool("update", false, "write the golden files")

// stub is a device that has a type, a configuration and queues.
type stub struct {
	virtio.Device
	kind   virtio.DeviceType
	config []byte
	sizes  []uint16
}

func (s stub) Type() virtio.DeviceType         { return s.kind }
func (s stub) QueueSizes() []uint16            { return s.sizes }
func (s stub) ReadConfig(off uint32, p []byte) { virtio.ReadConfigSpace(s.config, off, p) }

func fsStub(tag string, announced byte, sizes ...uint16) stub {
	config := make([]byte, 40)
	copy(config, tag)
	config[36] = announced
	return stub{kind: virtio.TypeFS, config: config, sizes: sizes}
}

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		name    string
		backend Backend
		machine hypervisor.Machine
	}{
		{
			name:    "emulated",
			backend: Backend{firmware: "/usr/share/qemu/qboot.rom"},
			machine: hypervisor.Machine{
				VCPUs: 1, MemoryBytes: 256 << 20,
				Kernel:    hypervisor.Kernel{Path: "/kernel/vmlinux", PVH: true},
				Initramfs: "/cache/a,b.cpio",
				Cmdline:   "holt.log=debug",
				Devices: []virtio.Device{
					fsStub("root", 1, 1024, 1024),
					stub{kind: virtio.TypeConsole},
					stub{kind: virtio.TypeVsock, sizes: []uint16{128, 128, 128}},
					stub{kind: virtio.TypeBalloon},
					stub{kind: virtio.TypeEntropy, sizes: []uint16{64}},
					fsStub("a,b", 2, 512, 512, 512),
					netStub(256, 256),
				},
			},
		},
		{
			name:    "kvm",
			backend: Backend{kvm: true},
			machine: hypervisor.Machine{VCPUs: 4, MemoryBytes: 6 << 30, Kernel: hypervisor.Kernel{Path: "/kernel/bzImage"}, KernelLog: true},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			args, err := c.backend.arguments(c.machine)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(args, "\n") + "\n"
			golden := filepath.Join("testdata", c.name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("arguments are\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestArgumentErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*hypervisor.Machine)
		want   string
	}{
		{"a saved state", func(m *hypervisor.Machine) { m.Origin = &hypervisor.Origin{} }, "need the kvm backend"},
		{"a cpu template", func(m *hypervisor.Machine) { m.CPUTemplate = hypervisor.CPUTemplateV2 }, "need the kvm backend"},
		{"no vcpu", func(m *hypervisor.Machine) { m.VCPUs = 0 }, "0 vCPUs"},
		{"no memory", func(m *hypervisor.Machine) { m.MemoryBytes = 0 }, "multiple of 1 MiB"},
		{"odd memory", func(m *hypervisor.Machine) { m.MemoryBytes++ }, "multiple of 1 MiB"},
		{"long command line", func(m *hypervisor.Machine) { m.Cmdline = strings.Repeat("x", boot.MaxCmdline) }, "at most 2047"},
		{"no front end", func(m *hypervisor.Machine) { m.Devices = []virtio.Device{stub{kind: 99}} }, "virtio unknown device (type 99)"},
		{"no tag", func(m *hypervisor.Machine) { m.Devices = []virtio.Device{fsStub("", 1, 1024, 1024)} }, "without a tag"},
		{"queues disagree", func(m *hypervisor.Machine) { m.Devices = []virtio.Device{fsStub("root", 2, 1024, 1024)} }, "2 request queues announced, 2 queues in all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := tinyMachine()
			c.change(&m)
			_, err := new(Backend).arguments(m)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestCmdline(t *testing.T) {
	for _, c := range []struct {
		name    string
		kvm     bool
		machine hypervisor.Machine
		has     []string
		lacks   []string
	}{
		{"one emulated vcpu", false, hypervisor.Machine{VCPUs: 1}, []string{"quiet", "nolapic_timer", "noreplace-smp", "panic=-1"}, nil},
		// Without its local timer, a second vCPU would have none.
		{"two emulated vcpus", false, hypervisor.Machine{VCPUs: 2}, []string{"no_timer_check", "clearcpuid=141"}, []string{"nolapic_timer"}},
		{"kvm", true, hypervisor.Machine{VCPUs: 1}, []string{"console=ttyS0"}, []string{"nolapic_timer", "no_timer_check", "noreplace-smp", "tsc=reliable", "clearcpuid=141"}},
		{"kernel log", false, hypervisor.Machine{VCPUs: 1, KernelLog: true}, nil, []string{"quiet"}},
		{"no virtio console", false, hypervisor.Machine{VCPUs: 1}, []string{"console=ttyS0"}, []string{"console=hvc0"}},
		{
			"virtio console", false,
			hypervisor.Machine{VCPUs: 1, Devices: []virtio.Device{fsStub("root", 1, 1024, 1024), stub{kind: virtio.TypeConsole}}},
			[]string{"earlycon=uart8250,io,0x3f8,115200", "console=hvc0"}, []string{"console=ttyS0"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.machine.Cmdline = "users=own"
			line, err := (&Backend{kvm: c.kvm}).cmdline(c.machine)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(line, " users=own") {
				t.Errorf("%q does not end with the caller's part, which must have the last word", line)
			}
			words := " " + line + " "
			for _, w := range c.has {
				if !strings.Contains(words, " "+w+" ") {
					t.Errorf("%q lacks %s", line, w)
				}
			}
			for _, w := range c.lacks {
				if strings.Contains(words, " "+w+" ") {
					t.Errorf("%q has %s", line, w)
				}
			}
		})
	}
}
