package hypervisor

import (
	"encoding/binary"

	"github.com/holtvm/holt/internal/kvmapi"
)

// Where things lie in the trial machine's memory, which is mapped to the same
// virtual addresses.
const (
	trialMemory = 0x10000

	addrPML4  = 0x1000
	addrPDPT  = 0x2000
	addrPD    = 0x3000
	addrGDT   = 0x4000
	addrIDT   = 0x5000
	addrStack = 0x9000 // grows down
	addrCode  = 0xA000
	addrData  = 0xB000 // operand of cmpxchg16b and xsave; 64-byte aligned
	addrStep  = 0xC000 // one byte: the step that began last
	addrIRET  = 0xD000 // handler of int3

	// trialPort is written to when all steps are done: QEMU's debug-exit port,
	// which no real device answers to.
	trialPort = 0xF4
)

// features are the properties of the CPU that decide which steps can be run.
type features struct{ xsave, smap bool }

func trialFeatures(cpuid []kvmapi.CPUIDEntry) features {
	var f features
	for _, e := range cpuid {
		switch {
		case e.Function == 1:
			f.xsave = e.ECX&(1<<26) != 0
		case e.Function == 7 && e.Index == 0:
			f.smap = e.EBX&(1<<20) != 0
		}
	}
	return f
}

// step is a piece of the trial program.
type step struct {
	name string
	code []byte
	need func(features) bool // nil: always
}

// trialSteps are instructions that Linux cannot do without and that emulators
// of guest kernel code are known to lack. Registers are those of trialRegs.
var trialSteps = []step{
	{name: "the first instruction"},
	{name: "lock cmpxchg16b", code: []byte{0xF0, 0x48, 0x0F, 0xC7, 0x0F}},                                                    // lock cmpxchg16b [rdi]
	{name: "popcnt", code: []byte{0xF3, 0x48, 0x0F, 0xB8, 0xD9}},                                                             // popcnt rbx, rcx
	{name: "xsave/xrstor", code: []byte{0x0F, 0xAE, 0x27, 0x0F, 0xAE, 0x2F}, need: func(f features) bool { return f.xsave }}, // xsave [rdi]; xrstor [rdi]
	{name: "clac/stac", code: []byte{0x0F, 0x01, 0xCB, 0x0F, 0x01, 0xCA}, need: func(f features) bool { return f.smap }},     // stac; clac
	{name: "int3", code: []byte{0xCC}},
	{name: "out", code: []byte{0xE6, trialPort, 0xF4}}, // out 0xf4, al; hlt
}

// trial is a program in the memory of its machine.
type trial struct {
	mem   []byte
	steps []step
}

// step names the step that the machine was in.
func (t trial) step() string {
	if n := int(t.mem[addrStep]); n < len(t.steps) {
		return t.steps[n].name
	}
	return "an unknown instruction"
}

// lay writes page tables, descriptor tables and the program.
func (t trial) lay(cpu features) {
	put := func(addr int, v uint64) { binary.LittleEndian.PutUint64(t.mem[addr:], v) }
	const presentWritable, largePage = 0x3, 0x80
	put(addrPML4, addrPDPT|presentWritable)
	put(addrPDPT, addrPD|presentWritable)
	put(addrPD, 0|presentWritable|largePage) // the first 2 MiB, one to one

	put(addrGDT+0x08, 0x00AF9B000000FFFF) // 64-bit code
	put(addrGDT+0x10, 0x00CF93000000FFFF) // data
	// int3 is vector 3; a gate is 16 bytes. Present, 64-bit interrupt gate.
	put(addrIDT+3*16, 0x8E00<<32|0x08<<16|addrIRET)
	copy(t.mem[addrIRET:], []byte{0x48, 0xCF}) // iretq

	code := t.mem[addrCode:addrCode]
	for n, s := range t.steps {
		if s.need != nil && !s.need(cpu) {
			continue
		}
		// mov byte [addrStep], n
		code = append(code, 0xC6, 0x04, 0x25)
		code = binary.LittleEndian.AppendUint32(code, addrStep)
		code = append(code, byte(n))
		code = append(code, s.code...)
	}
}

// trialRegs are the registers at the program's start: edx:eax is both what
// cmpxchg16b compares with and the mask of xsave, which saves the x87 state.
func trialRegs() kvmapi.Regs {
	return kvmapi.Regs{
		RAX: 1, RCX: 1, RDI: addrData, RSP: addrStack, RIP: addrCode,
		RFLAGS: 2, // the bit that is always set
	}
}

// trialSregs puts the vCPU into long mode (Intel SDM volume 3, 10.8.5).
func trialSregs(s kvmapi.Sregs, cpu features) kvmapi.Sregs {
	const (
		cr0 = 1<<31 | 1<<16 | 1<<5 | 1<<4 | 1<<1 | 1 // PG, WP, NE, ET, MP, PE
		pae = 1 << 5
		fx  = 1<<9 | 1<<10 // OSFXSR, OSXMMEXCPT
		osx = 1 << 18      // OSXSAVE
		sma = 1 << 21      // SMAP
		lme = 1<<8 | 1<<10 // EFER.LME, EFER.LMA
	)
	s.CR0, s.CR3, s.CR4, s.EFER = cr0, addrPML4, pae|fx, lme
	if cpu.xsave {
		s.CR4 |= osx
	}
	if cpu.smap {
		s.CR4 |= sma
	}
	code := kvmapi.Segment{Limit: 0xFFFFFFFF, Selector: 0x08, Type: 11, Present: 1, S: 1, L: 1, G: 1}
	data := kvmapi.Segment{Limit: 0xFFFFFFFF, Selector: 0x10, Type: 3, Present: 1, S: 1, DB: 1, G: 1}
	s.CS = code
	s.DS, s.ES, s.FS, s.GS, s.SS = data, data, data, data, data
	s.GDT = kvmapi.Table{Base: addrGDT, Limit: 0x17}
	s.IDT = kvmapi.Table{Base: addrIDT, Limit: 0xFFF}
	return s
}
