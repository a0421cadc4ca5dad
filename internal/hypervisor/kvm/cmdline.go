package kvm

import (
	"fmt"
	"strings"

	"github.com/holtvm/holt/internal/boot"
	"github.com/holtvm/holt/internal/hypervisor"
)

// cmdlineAlways is the machine's own part of the kernel command line.
var cmdlineAlways = []string{
	"console=ttyS0", // the machine's only console
	"panic=-1",      // a panic resets at once, which ends the machine (ErrReset)
	// There is no PCI bus. Told to believe in its configuration ports (see
	// pciAddress) and not to look behind them, Linux leaves it at that; told that
	// there are none, it complains on the console, at two exits a character.
	"pci=conf1,noearly",
	// With hardware-reduced ACPI, Linux takes it for granted that EFI can reset
	// the machine, and where there is no EFI jumps into a PC's BIOS. ACPI's reset
	// register is here.
	"reboot=acpi",
	// Known-answer tests of each cipher, on code that a distribution has tested.
	"cryptomgr.notests",
}

func cmdline(m hypervisor.Machine) (string, error) {
	words := append([]string(nil), cmdlineAlways...)
	if !m.KernelLog {
		// Errors still show. The rest is for people who look for one, and each
		// byte of it costs an exit.
		words = append(words, "quiet")
	}
	if m.Cmdline != "" {
		words = append(words, m.Cmdline)
	}
	line := strings.Join(words, " ")
	if len(line) > boot.MaxCmdline {
		return "", fmt.Errorf("a kernel command line of %d bytes: at most %d are possible", len(line), boot.MaxCmdline)
	}
	return line, nil
}
