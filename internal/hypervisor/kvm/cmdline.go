package kvm

// cmdline is this machine's own part of the kernel command line.
var cmdline = []string{
	// There is no PCI bus. Told to believe in its configuration ports (see
	// pciAddress) and not to look behind them, Linux leaves it at that; told that
	// there are none, it complains on the console, at two exits a character.
	"pci=conf1,noearly",
	// With hardware-reduced ACPI, Linux takes it for granted that EFI can reset
	// the machine, and where there is no EFI jumps into a PC's BIOS. ACPI's reset
	// register is here.
	"reboot=acpi",
}
