package main

import (
	"context"
	"os"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/hypervisor/kvm"
)

// machineCommand makes this program run a machine of our monitor's that has no
// devices, with the kernel and the initramfs that its arguments name, an argument
// for init or "", and the serial port on standard output.
const machineCommand = "machine"

func machine(image, initramfs, argument string) error {
	backend, err := kvm.New()
	if err != nil {
		return err
	}
	vm, err := backend.Start(context.Background(), hypervisor.Machine{
		VCPUs:       1,
		MemoryBytes: guestMemory,
		Kernel:      hypervisor.Kernel{Path: image},
		Initramfs:   initramfs,
		Cmdline:     forInit(argument),
		Console:     os.Stdout,
	})
	if err != nil {
		return err
	}
	<-vm.Done()
	return vm.Err()
}
