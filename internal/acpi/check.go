package acpi

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

const (
	maxCPUs     = 4096 // Linux's KVM_MAX_VCPUS at its highest
	ioapicPins  = 24
	pageSize    = 4096
	serialPorts = 8
	vmGenIDLen  = 16
	maxPhysAddr = 1 << 52 // what x86-64 page tables can map
)

// check returns an error that names each value of c that cannot be described,
// alone or beside the others.
func (c Config) check() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if c.CPUs < 1 || c.CPUs > maxCPUs {
		bad("%d processors, not 1 to %d", c.CPUs, maxCPUs)
	}
	if len(c.Devices) > maxDevices {
		bad("%d devices, more than %d", len(c.Devices), maxDevices)
	}
	for _, apic := range []struct {
		name string
		addr uint32
	}{{"LAPIC", c.LAPIC}, {"IOAPIC", c.IOAPIC}} {
		if apic.addr == 0 || apic.addr%pageSize != 0 {
			bad("%s address %#x is not a multiple of %d above 0", apic.name, apic.addr, pageSize)
		}
	}
	for i, d := range c.Devices {
		if d.Base%4 != 0 {
			bad("device %d: address %#x is not a multiple of 4", i, d.Base)
		}
		if d.Size == 0 || d.Base >= maxBase || uint64(d.Size) > maxBase-d.Base {
			bad("device %d: %#x bytes from %#x are none, or not all below 4 GiB", i, d.Size, d.Base)
		}
	}
	if c.VMGenIDAddr%8 != 0 || c.VMGenIDAddr >= maxPhysAddr {
		bad("generation id at %#x, not at a multiple of 8 below %#x", c.VMGenIDAddr, uint64(maxPhysAddr))
	}
	return errors.Join(append(problems, c.checkPorts(), c.checkInterrupts())...)
}

// span is a range of addresses or ports, [start, end).
type span struct {
	name       string
	start, end uint64
}

// checkPorts reports ports that are missing, beyond the last one or taken twice.
func (c Config) checkPorts() error {
	spans := []span{
		{"sleep control port", uint64(c.SleepControlPort), uint64(c.SleepControlPort) + 1},
		{"sleep status port", uint64(c.SleepStatusPort), uint64(c.SleepStatusPort) + 1},
		{"reset port", uint64(c.ResetPort), uint64(c.ResetPort) + 1},
	}
	if c.SerialPort != 0 {
		spans = append(spans, span{"serial port", uint64(c.SerialPort), uint64(c.SerialPort) + serialPorts})
	}
	for _, s := range spans {
		if s.start == 0 || s.end > 1<<16 {
			return fmt.Errorf("%s %#x is not one of 1 to 0xffff", s.name, s.start)
		}
	}
	return overlap(spans)
}

// checkInterrupts reports pins that do not exist and those that two have of whom
// one shares with nobody. Pin 0 is refused as a field that was forgotten: on a PC
// it is the timer's.
func (c Config) checkInterrupts() error {
	owner := make(map[uint32]string)
	for i, d := range c.Devices {
		if d.GSI == 0 || d.GSI >= ioapicPins {
			return fmt.Errorf("device %d: GSI %d is not one of 1 to %d", i, d.GSI, ioapicPins-1)
		}
		owner[d.GSI] = fmt.Sprintf("device %d", i)
	}
	type user struct {
		name string
		gsi  uint32
	}
	users := []user{{"power button", c.PowerButtonGSI}}
	if c.SerialPort != 0 {
		users = append(users, user{"serial port", c.SerialGSI})
	}
	if c.VMGenIDAddr != 0 {
		users = append(users, user{"generation id", c.VMGenIDGSI})
	}
	for _, u := range users {
		if u.gsi == 0 || u.gsi >= ioapicPins {
			return fmt.Errorf("%s: GSI %d is not one of 1 to %d", u.name, u.gsi, ioapicPins-1)
		}
		if other, taken := owner[u.gsi]; taken {
			return fmt.Errorf("GSI %d of the %s is also that of %s", u.gsi, u.name, other)
		}
		owner[u.gsi] = u.name
	}
	return nil
}

// checkMemory reports addresses that two have, among them the size bytes of tables
// at base, and tables that do not end below 4 GiB. c was checked.
func (c Config) checkMemory(base, size uint64) error {
	if size > maxBase-base {
		return fmt.Errorf("%d bytes from %#x do not end below 4 GiB", size, base)
	}
	spans := []span{
		{"ACPI tables", base, base + size},
		{"LAPIC", uint64(c.LAPIC), uint64(c.LAPIC) + pageSize},
		{"IOAPIC", uint64(c.IOAPIC), uint64(c.IOAPIC) + pageSize},
	}
	for i, d := range c.Devices {
		spans = append(spans, span{fmt.Sprintf("device %d", i), d.Base, d.Base + uint64(d.Size)})
	}
	if c.VMGenIDAddr != 0 {
		spans = append(spans, span{"generation id", c.VMGenIDAddr, c.VMGenIDAddr + vmGenIDLen})
	}
	return overlap(spans)
}

// overlap sorts spans and reports the first two that have a value in common.
func overlap(spans []span) error {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(spans); i++ {
		a, b := spans[i-1], spans[i]
		if b.start < a.end {
			return fmt.Errorf("%s [%#x, %#x) and %s [%#x, %#x) overlap", a.name, a.start, a.end, b.name, b.start, b.end)
		}
	}
	return nil
}
