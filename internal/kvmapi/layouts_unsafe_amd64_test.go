package kvmapi

import (
	"testing"
	"unsafe"
)

// preFaultSize is the size of the structure that comes with KVM_PRE_FAULT_MEMORY.
const preFaultSize = "sizeof(struct kvm_pre_fault_memory)"

// size is how long a structure of the headers is.
func size(s string, here uintptr) fact { return fact{"sizeof(struct " + s + ")", here} }

// at is where in a structure of the headers a field is.
func at(s, field string, here uintptr) fact {
	return fact{"offsetof(struct " + s + ", " + field + ")", here}
}

// layouts is every size and offset that this package takes from the headers.
func layouts() []fact {
	var (
		run     = "kvm_run"
		regs    Regs
		segment Segment
		sregs   Sregs
		xcrs    XCRs
		debug   DebugRegs
		events  Events
		clock   Clock
		chip    IRQChip
		line    irqLevel
		fd      irqFD
		ioFD    ioEventFD
		tr      translation
		region  userMemoryRegion
		leaves  cpuid2
		leaf    CPUIDEntry
		list    msrs
		msr     MSREntry
	)
	return []fact{
		at(run, "immediate_exit", runImmediateExit),
		at(run, "exit_reason", runExitReason),
		at(run, "hw", runExit),
		at(run, "kvm_valid_regs", runSync),
		at(run, "io.direction", runExit+ioDirection),
		at(run, "io.size", runExit+ioSize),
		at(run, "io.port", runExit+ioPort),
		at(run, "io.count", runExit+ioCount),
		at(run, "io.data_offset", runExit+ioDataOffset),
		at(run, "mmio.phys_addr", runExit+mmioAddr),
		at(run, "mmio.data", runExit+mmioData),
		at(run, "mmio.len", runExit+mmioLen),
		at(run, "mmio.is_write", runExit+mmioIsWrite),
		at(run, "internal.suberror", runExit+internalSuberror),
		at(run, "internal.ndata", runExit+internalNData),
		at(run, "internal.data", runExit+internalData),
		{"sizeof(((struct kvm_run *)0)->internal.data) / 8", maxInternalData},
		at(run, "emulation_failure.flags", runExit+emulationFlags),
		at(run, "emulation_failure.insn_size", runExit+emulationInsnSize),
		at(run, "emulation_failure.insn_bytes", runExit+emulationInsnBytes),
		{"sizeof(((struct kvm_run *)0)->emulation_failure.insn_bytes)", maxInstruction},
		at(run, "fail_entry.hardware_entry_failure_reason", runExit+entryFailureReason),

		size("kvm_stats_header", statsHeaderSize),
		{preFaultSize, unsafe.Sizeof(preFaultMemory{})},
		at("kvm_stats_header", "name_size", 4),
		at("kvm_stats_header", "num_desc", 8),
		at("kvm_stats_header", "desc_offset", 16),
		at("kvm_stats_header", "data_offset", 20),
		size("kvm_stats_desc", statsDescSize),
		at("kvm_stats_desc", "flags", 0),
		at("kvm_stats_desc", "size", 6),
		at("kvm_stats_desc", "offset", 8),
		at("kvm_stats_desc", "name", statsDescSize),

		size("kvm_userspace_memory_region", unsafe.Sizeof(region)),
		at("kvm_userspace_memory_region", "flags", unsafe.Offsetof(region.Flags)),
		at("kvm_userspace_memory_region", "guest_phys_addr", unsafe.Offsetof(region.GuestPhysAddr)),
		at("kvm_userspace_memory_region", "memory_size", unsafe.Offsetof(region.MemorySize)),
		at("kvm_userspace_memory_region", "userspace_addr", unsafe.Offsetof(region.UserspaceAddr)),
		size("kvm_mp_state", unsafe.Sizeof(uint32(0))),
		size("kvm_irq_level", unsafe.Sizeof(line)),
		at("kvm_irq_level", "irq", unsafe.Offsetof(line.GSI)),
		at("kvm_irq_level", "level", unsafe.Offsetof(line.Level)),
		size("kvm_irqfd", unsafe.Sizeof(fd)),
		at("kvm_irqfd", "gsi", unsafe.Offsetof(fd.GSI)),
		at("kvm_irqfd", "flags", unsafe.Offsetof(fd.Flags)),
		at("kvm_irqfd", "resamplefd", unsafe.Offsetof(fd.ResampleFD)),
		size("kvm_ioeventfd", unsafe.Sizeof(ioFD)),
		at("kvm_ioeventfd", "datamatch", unsafe.Offsetof(ioFD.Datamatch)),
		at("kvm_ioeventfd", "addr", unsafe.Offsetof(ioFD.Addr)),
		at("kvm_ioeventfd", "len", unsafe.Offsetof(ioFD.Len)),
		at("kvm_ioeventfd", "fd", unsafe.Offsetof(ioFD.FD)),
		at("kvm_ioeventfd", "flags", unsafe.Offsetof(ioFD.Flags)),
		size("kvm_irqchip", unsafe.Sizeof(chip)),
		at("kvm_irqchip", "chip", unsafe.Offsetof(chip.Data)),
		size("kvm_lapic_state", unsafe.Sizeof(LAPIC{})),
		size("kvm_clock_data", unsafe.Sizeof(clock)),
		at("kvm_clock_data", "clock", unsafe.Offsetof(clock.Clock)),
		at("kvm_clock_data", "flags", unsafe.Offsetof(clock.Flags)),
		at("kvm_clock_data", "realtime", unsafe.Offsetof(clock.Realtime)),
		at("kvm_clock_data", "host_tsc", unsafe.Offsetof(clock.HostTSC)),

		size("kvm_cpuid2", unsafe.Offsetof(leaves.Entries)),
		at("kvm_cpuid2", "nent", unsafe.Offsetof(leaves.N)),
		at("kvm_cpuid2", "entries", unsafe.Offsetof(leaves.Entries)),
		size("kvm_cpuid_entry2", unsafe.Sizeof(leaf)),
		at("kvm_cpuid_entry2", "function", unsafe.Offsetof(leaf.Function)),
		at("kvm_cpuid_entry2", "index", unsafe.Offsetof(leaf.Index)),
		at("kvm_cpuid_entry2", "flags", unsafe.Offsetof(leaf.Flags)),
		at("kvm_cpuid_entry2", "eax", unsafe.Offsetof(leaf.EAX)),
		at("kvm_cpuid_entry2", "ebx", unsafe.Offsetof(leaf.EBX)),
		at("kvm_cpuid_entry2", "ecx", unsafe.Offsetof(leaf.ECX)),
		at("kvm_cpuid_entry2", "edx", unsafe.Offsetof(leaf.EDX)),
		size("kvm_msrs", unsafe.Offsetof(list.Entries)),
		at("kvm_msrs", "entries", unsafe.Offsetof(list.Entries)),
		size("kvm_msr_entry", unsafe.Sizeof(msr)),
		at("kvm_msr_entry", "data", unsafe.Offsetof(msr.Data)),
		size("kvm_msr_list", 4),
		at("kvm_msr_list", "indices", 4),

		size("kvm_regs", unsafe.Sizeof(regs)),
		at("kvm_regs", "rax", unsafe.Offsetof(regs.RAX)),
		at("kvm_regs", "rbx", unsafe.Offsetof(regs.RBX)),
		at("kvm_regs", "rcx", unsafe.Offsetof(regs.RCX)),
		at("kvm_regs", "rdx", unsafe.Offsetof(regs.RDX)),
		at("kvm_regs", "rsi", unsafe.Offsetof(regs.RSI)),
		at("kvm_regs", "rdi", unsafe.Offsetof(regs.RDI)),
		at("kvm_regs", "rsp", unsafe.Offsetof(regs.RSP)),
		at("kvm_regs", "rbp", unsafe.Offsetof(regs.RBP)),
		at("kvm_regs", "r8", unsafe.Offsetof(regs.R8)),
		at("kvm_regs", "r15", unsafe.Offsetof(regs.R15)),
		at("kvm_regs", "rip", unsafe.Offsetof(regs.RIP)),
		at("kvm_regs", "rflags", unsafe.Offsetof(regs.RFLAGS)),
		size("kvm_segment", unsafe.Sizeof(segment)),
		at("kvm_segment", "limit", unsafe.Offsetof(segment.Limit)),
		at("kvm_segment", "selector", unsafe.Offsetof(segment.Selector)),
		at("kvm_segment", "type", unsafe.Offsetof(segment.Type)),
		at("kvm_segment", "present", unsafe.Offsetof(segment.Present)),
		at("kvm_segment", "dpl", unsafe.Offsetof(segment.DPL)),
		at("kvm_segment", "db", unsafe.Offsetof(segment.DB)),
		at("kvm_segment", "s", unsafe.Offsetof(segment.S)),
		at("kvm_segment", "l", unsafe.Offsetof(segment.L)),
		at("kvm_segment", "g", unsafe.Offsetof(segment.G)),
		at("kvm_segment", "avl", unsafe.Offsetof(segment.AVL)),
		at("kvm_segment", "unusable", unsafe.Offsetof(segment.Unusable)),
		size("kvm_dtable", unsafe.Sizeof(Table{})),
		at("kvm_dtable", "limit", unsafe.Offsetof(Table{}.Limit)),
		size("kvm_sregs", unsafe.Sizeof(sregs)),
		at("kvm_sregs", "cs", unsafe.Offsetof(sregs.CS)),
		at("kvm_sregs", "ds", unsafe.Offsetof(sregs.DS)),
		at("kvm_sregs", "es", unsafe.Offsetof(sregs.ES)),
		at("kvm_sregs", "fs", unsafe.Offsetof(sregs.FS)),
		at("kvm_sregs", "gs", unsafe.Offsetof(sregs.GS)),
		at("kvm_sregs", "ss", unsafe.Offsetof(sregs.SS)),
		at("kvm_sregs", "tr", unsafe.Offsetof(sregs.TR)),
		at("kvm_sregs", "ldt", unsafe.Offsetof(sregs.LDT)),
		at("kvm_sregs", "gdt", unsafe.Offsetof(sregs.GDT)),
		at("kvm_sregs", "idt", unsafe.Offsetof(sregs.IDT)),
		at("kvm_sregs", "cr0", unsafe.Offsetof(sregs.CR0)),
		at("kvm_sregs", "cr3", unsafe.Offsetof(sregs.CR3)),
		at("kvm_sregs", "cr8", unsafe.Offsetof(sregs.CR8)),
		at("kvm_sregs", "efer", unsafe.Offsetof(sregs.EFER)),
		at("kvm_sregs", "apic_base", unsafe.Offsetof(sregs.APICBase)),
		at("kvm_sregs", "interrupt_bitmap", unsafe.Offsetof(sregs.InterruptBitmap)),
		size("kvm_translation", unsafe.Sizeof(tr)),
		at("kvm_translation", "physical_address", unsafe.Offsetof(tr.PhysicalAddress)),
		at("kvm_translation", "valid", unsafe.Offsetof(tr.Valid)),

		size("kvm_xsave", xsaveSize),
		size("kvm_xcr", unsafe.Sizeof(XCR{})),
		at("kvm_xcr", "value", unsafe.Offsetof(XCR{}.Value)),
		size("kvm_xcrs", unsafe.Sizeof(xcrs)),
		at("kvm_xcrs", "flags", unsafe.Offsetof(xcrs.Flags)),
		at("kvm_xcrs", "xcrs", unsafe.Offsetof(xcrs.XCRs)),
		at("kvm_xcrs", "padding", unsafe.Offsetof(xcrs.XCRs)+unsafe.Sizeof(xcrs.XCRs)),
		size("kvm_debugregs", unsafe.Sizeof(debug)),
		at("kvm_debugregs", "dr6", unsafe.Offsetof(debug.DR6)),
		at("kvm_debugregs", "dr7", unsafe.Offsetof(debug.DR7)),
		at("kvm_debugregs", "flags", unsafe.Offsetof(debug.Flags)),
		size("kvm_vcpu_events", unsafe.Sizeof(events)),
		at("kvm_vcpu_events", "exception.nr", unsafe.Offsetof(events.Exception.Nr)),
		at("kvm_vcpu_events", "exception.has_error_code", unsafe.Offsetof(events.Exception.HasErrorCode)),
		at("kvm_vcpu_events", "exception.pending", unsafe.Offsetof(events.Exception.Pending)),
		at("kvm_vcpu_events", "exception.error_code", unsafe.Offsetof(events.Exception.ErrorCode)),
		at("kvm_vcpu_events", "interrupt", unsafe.Offsetof(events.Interrupt)),
		at("kvm_vcpu_events", "interrupt.soft", unsafe.Offsetof(events.Interrupt)+unsafe.Offsetof(events.Interrupt.Soft)),
		at("kvm_vcpu_events", "interrupt.shadow", unsafe.Offsetof(events.Interrupt)+unsafe.Offsetof(events.Interrupt.Shadow)),
		at("kvm_vcpu_events", "nmi", unsafe.Offsetof(events.NMI)),
		at("kvm_vcpu_events", "nmi.masked", unsafe.Offsetof(events.NMI)+unsafe.Offsetof(events.NMI.Masked)),
		at("kvm_vcpu_events", "sipi_vector", unsafe.Offsetof(events.SIPIVector)),
		at("kvm_vcpu_events", "flags", unsafe.Offsetof(events.Flags)),
		at("kvm_vcpu_events", "smi", unsafe.Offsetof(events.SMI)),
		at("kvm_vcpu_events", "smi.latched_init", unsafe.Offsetof(events.SMI)+unsafe.Offsetof(events.SMI.LatchedInit)),
		at("kvm_vcpu_events", "triple_fault", unsafe.Offsetof(events.TripleFault)),
		at("kvm_vcpu_events", "exception_has_payload", unsafe.Offsetof(events.ExceptionHasPayload)),
		at("kvm_vcpu_events", "exception_payload", unsafe.Offsetof(events.ExceptionPayload)),
	}
}

// The request numbers carry the sizes that the kernel expects, so a structure
// that drifted from its layout shows itself here, without a compiler.
func TestStructSizesMatchRequestNumbers(t *testing.T) {
	size := func(req uintptr) uintptr { return req >> 16 & 0x3FFF }
	for _, c := range []struct {
		name string
		got  uintptr
		reqs []uintptr
	}{
		{"kvm_userspace_memory_region", unsafe.Sizeof(userMemoryRegion{}), []uintptr{ioSetUserMemRegion}},
		{"kvm_mp_state", unsafe.Sizeof(uint32(0)), []uintptr{ioGetMPState, ioSetMPState}},
		{"kvm_irqfd", unsafe.Sizeof(irqFD{}), []uintptr{ioIRQFD}},
		{"kvm_ioeventfd", unsafe.Sizeof(ioEventFD{}), []uintptr{ioIOEventFD}},
		{"kvm_irqchip", unsafe.Sizeof(IRQChip{}), []uintptr{ioGetIRQChip, ioSetIRQChip}},
		{"kvm_lapic_state", unsafe.Sizeof(LAPIC{}), []uintptr{ioGetLAPIC, ioSetLAPIC}},
		{"kvm_clock_data", unsafe.Sizeof(Clock{}), []uintptr{ioGetClock, ioSetClock}},
		{"kvm_regs", unsafe.Sizeof(Regs{}), []uintptr{ioGetRegs, ioSetRegs}},
		{"kvm_sregs", unsafe.Sizeof(Sregs{}), []uintptr{ioGetSregs, ioSetSregs}},
		{"kvm_translation", unsafe.Sizeof(translation{}), []uintptr{ioTranslate}},
		{"kvm_xsave", xsaveSize, []uintptr{ioGetXSave, ioSetXSave, ioGetXSave2}},
		{"kvm_xcrs", unsafe.Sizeof(XCRs{}), []uintptr{ioGetXCRs, ioSetXCRs}},
		{"kvm_debugregs", unsafe.Sizeof(DebugRegs{}), []uintptr{ioGetDebugRegs, ioSetDebugRegs}},
		{"kvm_vcpu_events", unsafe.Sizeof(Events{}), []uintptr{ioGetEvents, ioSetEvents}},
		{"the identity map's address", unsafe.Sizeof(uint64(0)), []uintptr{ioSetIdentityMapAddr}},
		{"kvm_msr_list's head", unsafe.Sizeof(uint32(0)), []uintptr{ioGetMSRIndexList}},
		{"kvm_msrs' head", unsafe.Offsetof(msrs{}.Entries), []uintptr{ioGetMSRs, ioSetMSRs}},
		{"kvm_cpuid2's head", unsafe.Offsetof(cpuid2{}.Entries), []uintptr{ioSetCPUID2, ioGetSupportedCPUID}},
	} {
		for _, req := range c.reqs {
			if c.got != size(req) {
				t.Errorf("%s is %d bytes here, %d in the kernel", c.name, c.got, size(req))
			}
		}
	}
}
