// Package kvmapi is the ioctl interface of /dev/kvm and nothing else: a leaf
// without policy, which knows what the kernel's calls and structures look like
// and not what anybody wants with them.
//
// Numbers and layouts are those of Linux's include/uapi/linux/kvm.h and
// Documentation/virt/kvm/api.rst; section numbers below refer to the latter.
// Every error wraps the kernel's errno.
package kvmapi

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// APIVersion is what [Device.APIVersion] returns on every kernel since 2.6.22
// (api.rst, 4.1).
const APIVersion = 12

// Request numbers of the device: _IO(0xAE, nr).
const (
	ioGetAPIVersion   = 0xAE00
	ioCreateVM        = 0xAE01
	ioGetVCPUMmapSize = 0xAE04
)

// Device is an open /dev/kvm.
type Device struct{ f *os.File }

// Open opens /dev/kvm. The error is an *os.PathError, so that callers can tell
// a device that is missing from one that they may not use.
func Open() (*Device, error) {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &Device{f}, nil
}

// Close closes the device. Machines made from it live on.
func (d *Device) Close() error { return d.f.Close() }

// APIVersion is KVM_GET_API_VERSION (4.1).
func (d *Device) APIVersion() (int, error) {
	v, err := ioctl(d.f, ioGetAPIVersion, 0)
	return int(v), err
}

// CreateVM is KVM_CREATE_VM (4.2) with the default machine type. It is repeated
// when a signal interrupts it, which Go's own preemption signal may do.
func (d *Device) CreateVM() (*VM, error) {
	for {
		fd, err := ioctl(d.f, ioCreateVM, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("create vm: %w", err)
		}
		size, err := ioctl(d.f, ioGetVCPUMmapSize, 0)
		if err != nil {
			unix.Close(int(fd))
			return nil, fmt.Errorf("get vcpu mmap size: %w", err)
		}
		return &VM{f: os.NewFile(fd, "kvm-vm"), runSize: int(size)}, nil
	}
}
