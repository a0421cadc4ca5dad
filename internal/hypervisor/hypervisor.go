// Package hypervisor is what Holt needs of a hypervisor: the Backend interface,
// the description of a machine, the probe of /dev/kvm, and the choice of a
// backend for this host.
//
// A backend gets finished devices and a kernel; it knows nothing about root
// directories, agents or commands. This package knows no backend: whoever
// assembles a machine hands their constructors to [Select].
package hypervisor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/holtvm/holt/internal/virtio"
)

// ErrReset is how a machine ends whose guest reset it instead of powering it
// off. With panic=-1, which backends put on the kernel command line, that is
// what a kernel panic becomes.
var ErrReset = errors.New("the guest kernel reset the machine")

// Machine describes the virtual machine to start.
//
// Console also gets, on QEMU, what the guest prints on a virtio console among the
// devices, in the order of printing; our own machine leaves that to the device,
// which is made with a writer. So where both are the same writer, its Write is
// called from several goroutines. It must not block: the guest's vCPUs wait for it,
// and so does Kill. A nil Console drops what the serial port prints.
type Machine struct {
	VCPUs       int             // 1 or more
	MemoryBytes uint64          // guest memory; a multiple of 1 MiB
	Kernel      Kernel          // what to boot
	Initramfs   string          // path of an uncompressed cpio archive
	Cmdline     string          // kernel command line, without what the backend adds for its own machine
	Nested      bool            // the guest may run guests of its own, if this host's processor lets it
	KernelLog   bool            // the whole kernel log goes to the console, not only its errors
	Devices     []virtio.Device // attached in this order
	Console     io.Writer       // gets what the guest prints on its serial port; see above
	Logger      *slog.Logger    // nil drops what would be logged
	CPUTemplate string          // one of CPUTemplates: the most that the vCPUs show; "" for all that this host has; not with Nested

	// Origin, unless nil, is where the machine goes on from. Kernel, Initramfs,
	// Cmdline, KernelLog and CPUTemplate then play no part. The rest must be like the
	// machine's that was saved: as many vCPUs, as much memory, and devices of the same
	// kinds in the same order.
	Origin *Origin
}

// Has reports whether the machine has a device of a type.
func (m Machine) Has(t virtio.DeviceType) bool {
	return slices.ContainsFunc(m.Devices, func(d virtio.Device) bool { return d.Type() == t })
}

// Kernel is a guest kernel image.
type Kernel struct {
	Path string
	PVH  bool // an ELF vmlinux with a PVH entry; otherwise a bzImage
}

// Backend starts virtual machines.
type Backend interface {
	// Name is the backend's name as users write it: "kvm" or "qemu".
	Name() string
	// Start boots m. ctx bounds the start only, not the life of the VM.
	Start(ctx context.Context, m Machine) (VM, error)
}

// VM is a started virtual machine.
type VM interface {
	// Done is closed when the machine has ended and nothing of it is left.
	Done() <-chan struct{}
	// Err says, after Done, why the machine ended: nil when the guest powered
	// off or was killed by Kill, otherwise the reason. A guest that reset the
	// machine gives ErrReset.
	Err() error
	// Kill ends the machine at once and returns when Done is closed. It may be
	// called any number of times, from any goroutine.
	Kill()
	// Pause stops the vCPUs; once it returns, nothing of the machine touches
	// guest memory. Pausing a paused machine changes nothing. The guest's clocks
	// go on. It is an error when the machine has ended.
	Pause(ctx context.Context) error
	// Resume lets a paused machine go on. It is an error when the machine has
	// ended.
	Resume(ctx context.Context) error
	// Hold keeps the vCPUs from running, or lets them go on, beside Pause and
	// whatever that says. Devices and the other methods go on, but what QEMU has
	// to answer waits for the end of the hold. It does not wait until the last
	// vCPU has stopped, which takes well under a millisecond, and does nothing to
	// a machine that has ended. It is for short holds, often repeated: the
	// guest's watchdogs are not told.
	Hold(held bool)
	// CPUTime is the processor time that the machine used so far: its vCPUs
	// and what emulates them. A guest that makes no progress shows itself by
	// it. It stays readable after Done.
	CPUTime() time.Duration
	// PowerButton presses the machine's power button and returns. What comes of it
	// is the guest's choice. It is an error when the machine has ended.
	PowerButton() error
	// Stats is what else the machine did so far.
	Stats() Stats
}

// Stats is what a machine did so far, as far as its backend knows.
type Stats struct {
	// Exits counts how often the vCPUs left the guest for their monitor, by why they
	// did, in KVM's words: "io", "mmio" and rarer ones. It is nil under emulation.
	Exits map[string]uint64
	// KernelExits is how often the vCPUs left the guest for anybody, most of all for
	// the host's kernel. Some of these are in KernelExitsByKind, too, whose kinds
	// ("halt", "irq", "io" and others) may overlap, and are KVM's to count or not.
	// Both are zero where the kernel does not tell, and once the machine has ended.
	KernelExits       uint64
	KernelExitsByKind map[string]uint64
	// Processes are the IDs of the running processes, besides this one, in which
	// the machine lives.
	Processes []int
}
