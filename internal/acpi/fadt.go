package acpi

import "encoding/binary"

// Fields of the FADT that are not zero (ACPI 6.4, 5.2.9): their offsets in bytes.
const (
	fadtIAPCBootArch  = 109
	fadtFlags         = 112
	fadtResetReg      = 116
	fadtResetValue    = 128
	fadtMinorVersion  = 131
	fadtXDSDT         = 140
	fadtSleepControl  = 244
	fadtSleepStatus   = 256
	fadtHypervisor    = 268
	fadtLen           = 276
	fadtMajor         = 6
	fadtMinor         = 4
	hypervisorVendor  = "HOLT    "
	bootNoVGA         = 1 << 2 // IAPC_BOOT_ARCH: do not probe for VGA,
	bootNoMSI         = 1 << 3 // there is no PCI, so no MSI,
	bootNoRTC         = 1 << 5 // and no CMOS clock; that bit 1 is clear says no 8042
	flagWBINVD        = 1 << 0
	flagC1            = 1 << 2  // HLT works on every processor
	flagPowerButton   = 1 << 4  // not a fixed one: a device, if there is one
	flagSleepButton   = 1 << 5  // likewise
	flagNoFixedRTC    = 1 << 6  // no RTC wake status in fixed registers
	flagResetRegister = 1 << 10 // the reset register is there
	flagHeadless      = 1 << 12
	flagReduced       = 1 << 20 // hardware-reduced ACPI
)

// fadt returns the fixed table, which points to the DSDT at address dsdt. Its
// 32-bit addresses stay zero: the 64-bit ones count.
func fadt(c Config, dsdt uint64) []byte {
	le := binary.LittleEndian
	t := make([]byte, fadtLen)
	le.PutUint16(t[fadtIAPCBootArch:], bootNoVGA|bootNoMSI|bootNoRTC)
	le.PutUint32(t[fadtFlags:], flagWBINVD|flagC1|flagPowerButton|flagSleepButton|
		flagNoFixedRTC|flagResetRegister|flagHeadless|flagReduced)
	portRegister(t[fadtResetReg:], c.ResetPort)
	t[fadtResetValue] = c.ResetValue
	t[fadtMinorVersion] = fadtMinor
	le.PutUint64(t[fadtXDSDT:], dsdt)
	portRegister(t[fadtSleepControl:], c.SleepControlPort)
	portRegister(t[fadtSleepStatus:], c.SleepStatusPort)
	copy(t[fadtHypervisor:], hypervisorVendor)
	return seal("FACP", fadtMajor, t)
}
