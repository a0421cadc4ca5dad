package qemu

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/holtvm/holt/internal/hypervisor"
)

// Descriptors that the child inherits, in the order of its files.
const (
	qmpFD         = 3
	consoleFD     = 4
	firstDeviceFD = 5 // and one more for each further device that we serve
)

// machineType is a q35 without what no guest of ours uses. Each absent part is
// one that firmware and kernel do not look for, which is boot time. The HPET
// stays: under emulation it is the guest's timer (see cmdlineOneCPU).
const machineType = "q35,memory-backend=mem,sata=off,smbus=off,usb=off,vmport=off,i8042=off"

// sandbox is QEMU's own seccomp filter, tightened: no process creation, no
// change of privileges or resources, no obsolete calls. It costs nothing that
// can be measured.
const sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

// arguments is the command line for m, without the program's name.
func (b *Backend) arguments(m hypervisor.Machine) ([]string, error) {
	if m.VCPUs < 1 {
		return nil, fmt.Errorf("a machine with %d vCPUs: at least 1 is needed", m.VCPUs)
	}
	if m.MemoryBytes == 0 || m.MemoryBytes%(1<<20) != 0 {
		return nil, fmt.Errorf("%d bytes of memory: a multiple of 1 MiB is needed", m.MemoryBytes)
	}
	if m.Origin != nil || m.CPUTemplate != "" {
		return nil, errors.New("machines that go on from a saved state, and CPU templates, need the kvm backend")
	}
	cmdline, err := b.cmdline(m)
	if err != nil {
		return nil, err
	}
	args := []string{
		"-nodefaults", "-no-user-config",
		"-display", "none",
		"-msg", "timestamp=off",
		"-sandbox", sandbox,
		"-no-reboot", // a reset of the guest ends it
		"-machine", machineType,
		"-m", strconv.FormatUint(m.MemoryBytes>>20, 10) + "M",
		"-object", fmt.Sprintf("memory-backend-memfd,id=mem,size=%d,share=on", m.MemoryBytes),
		"-smp", fmt.Sprintf("%d,sockets=1,cores=%d,threads=1", m.VCPUs, m.VCPUs),
	}
	args = append(args, b.accelerator()...)
	if b.firmware != "" {
		args = append(args, "-bios", b.firmware)
	}
	args = append(args, "-kernel", m.Kernel.Path)
	if m.Initramfs != "" {
		args = append(args, "-initrd", m.Initramfs)
	}
	args = append(args,
		"-append", cmdline,
		"-chardev", socket("qmp", qmpFD),
		"-mon", "chardev=qmp,mode=control",
	)
	args = append(args, consoleOptions()...)
	fd := firstDeviceFD
	for i, dev := range m.Devices {
		if own := standIn(dev.Type()); own != nil {
			args = append(args, own...)
			continue
		}
		id := "dev" + strconv.Itoa(i)
		front, err := frontend(dev, id)
		if err != nil {
			return nil, err
		}
		chardev := socket(id, fd)
		if calls(dev) {
			chardev = fmt.Sprintf("socket,id=%s,path=%s", id, descriptorPath(fd))
		}
		args = append(args, "-chardev", chardev)
		args = append(args, front...)
		fd++
	}
	return args, nil
}

func (b *Backend) accelerator() []string {
	if b.kvm {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	// With QEMU's emulated virtual GIF a guest's guests often sleep for ever,
	// without it seldom.
	return []string{"-accel", "tcg,thread=multi", "-cpu", "max,vgif=off"}
}

func socket(id string, fd int) string {
	return fmt.Sprintf("socket,id=%s,fd=%d", id, fd)
}

// escape makes s a value in one of QEMU's comma-separated options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
