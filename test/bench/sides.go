package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// kvmSide is a way to get the program hello running in a guest with KVM.
type kvmSide struct {
	name string
	// command starts it, with an argument for the program or "".
	command func(argument string) *exec.Cmd
	// end is what the process gets once the program said hello: nothing, where
	// it ends by itself and leaves other processes if it does not.
	end syscall.Signal
}

// QEMU's machine for this purpose, with those of its parts off that cost a guest
// time. It comes up soonest without ACPI; the kernel is told so, that it need not
// look, and to keep to itself what it misses, which would cost two exits a
// character. Devices over vhost-user need its PCI bus, and that needs ACPI: its
// virtio-mmio offers queues that are longer than the devices'.
const (
	microvm        = "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on"
	microvmAlone   = microvm + ",acpi=off"
	aloneCmdline   = "console=ttyS0 panic=-1 cryptomgr.notests acpi=off pci=off loglevel=3"
	microvmDevices = microvm + ",acpi=on,pcie=on"
	qbootFirmware  = "qboot.rom"
)

// sides are all of them in the order of their turns.
func (t *turns) sides() []*kvmSide {
	return []*kvmSide{
		{name: holtRun, command: func(argument string) *exec.Cmd { return t.holtRun("kvm", argument) }},
		{name: holtOnQEMU, command: func(argument string) *exec.Cmd {
			cmd := t.holtRun("qemu", argument)
			cmd.Env = append(os.Environ(), "HOLT_QEMU="+t.shim)
			return cmd
		}},
		{name: ourMachine, end: syscall.SIGKILL, command: func(argument string) *exec.Cmd {
			return exec.Command(t.self, machineCommand, t.Image, t.Initramfs, argument)
		}},
		{name: qemuMachine, end: syscall.SIGKILL, command: func(argument string) *exec.Cmd {
			return t.microvm(t.microvmBoots(argument)...)
		}},
	}
}

// microvm is QEMU's machine with nothing but a serial port, and with more options.
func (t *turns) microvm(more ...string) *exec.Cmd {
	return exec.Command(qemuProgram, append([]string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-M", microvmAlone, "-accel", "kvm", "-cpu", "host", "-m", fmt.Sprint(guestMemory >> 20),
		"-bios", qbootFirmware, "-serial", "stdio",
	}, more...)...)
}

// microvmBoots are options with which it boots, with an argument for init or "".
func (t *turns) microvmBoots(argument string) []string {
	return []string{"-kernel", t.Image, "-initrd", t.Initramfs, "-append", aloneCmdline + forInit(argument)}
}

// forInit are words of a kernel command line that give init an argument, or "".
func forInit(argument string) string {
	if argument == "" {
		return ""
	}
	return " -- " + argument
}

func (t *turns) holtRun(backend, argument string) *exec.Cmd {
	args := []string{"run", "--backend", backend, "--rootfs", t.Root, "-m", fmt.Sprint(guestMemory >> 20), "--", "/hello"}
	if argument != "" {
		args = append(args, argument)
	}
	return exec.Command(t.Holt, args...)
}

// memory is what a side's processes take, of which pid is the first.
func (c *kvmSide) memory(pid int) (figures, error) {
	first, err := memoryOf(pid, guestMemory)
	if err != nil {
		return nil, err
	}
	if c.name != holtRun {
		return figures{"rss": first.rss, "pss": first.pss}, nil
	}
	child, err := monitorOf(pid)
	if err != nil {
		return nil, err
	}
	monitor, err := memoryOf(child, guestMemory)
	if err != nil {
		return nil, err
	}
	return figures{"client rss": first.rss, "monitor rss": monitor.rss, "both pss": first.pss + monitor.pss}, nil
}

// monitorOf is the monitor's process of a client.
func monitorOf(client int) (int, error) {
	pids, err := children(client)
	if err != nil {
		return 0, err
	}
	if len(pids) != 1 {
		return 0, fmt.Errorf("the client has %d child processes, not a monitor", len(pids))
	}
	return pids[0], nil
}

// shim makes the command line that our qemu backend writes for a q35 machine one
// for a microvm. A shell does it in less time than a program of Go's would start.
const shim = `#!/bin/sh
for a in "$@"; do
	shift
	case $a in
	q35,*) a=` + microvmDevices + `,memory-backend=mem ;;
	esac
	set -- "$@" "$a"
done
exec ` + qemuProgram + ` -bios ` + qbootFirmware + ` "$@"
`

// writeShim writes the shim into a directory and returns its path.
func writeShim(dir string) (string, error) {
	path := filepath.Join(dir, "qemu-microvm")
	return path, os.WriteFile(path, []byte(shim), 0o755)
}
