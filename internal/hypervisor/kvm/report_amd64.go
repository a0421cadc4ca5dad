package kvm

import (
	"fmt"
	"strings"

	"github.com/holtvm/holt/internal/kvmapi"
)

// codeBytes is how much of the guest's code a report shows.
const codeBytes = 16

// report describes a vCPU that cannot go on: its registers and the code at RIP.
// After a triple fault AMD processors do not keep them: they show the reset state.
func (m *machine) report(c *vcpu) string {
	r, err := c.api.Regs()
	if err != nil {
		return fmt.Sprintf("its registers cannot be read: %v", err)
	}
	s, err := c.api.Sregs()
	if err != nil {
		return fmt.Sprintf("its registers cannot be read: %v", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "rip %#x rflags %#x rsp %#x rbp %#x", r.RIP, r.RFLAGS, r.RSP, r.RBP)
	for _, v := range []struct {
		name  string
		value uint64
	}{
		{"rax", r.RAX}, {"rbx", r.RBX}, {"rcx", r.RCX}, {"rdx", r.RDX}, {"rsi", r.RSI}, {"rdi", r.RDI},
		{"r8", r.R8}, {"r9", r.R9}, {"r10", r.R10}, {"r11", r.R11}, {"r12", r.R12}, {"r13", r.R13}, {"r14", r.R14}, {"r15", r.R15},
		{"cr0", s.CR0}, {"cr2", s.CR2}, {"cr3", s.CR3}, {"cr4", s.CR4}, {"efer", s.EFER}, {"cs", uint64(s.CS.Selector)}, {"cs base", s.CS.Base},
	} {
		fmt.Fprintf(&b, " %s %#x", v.name, v.value)
	}
	fmt.Fprintf(&b, " code %s", m.code(c, s.CS.Base+r.RIP))
	return b.String()
}

// code is the guest's code at a linear address, in hexadecimal.
func (m *machine) code(c *vcpu, linear uint64) string {
	phys, valid, err := c.api.Translate(linear)
	if err != nil || !valid {
		return "not mapped"
	}
	n := min(codeBytes, 0x1000-phys%0x1000) // the next page may lie elsewhere
	b, err := m.mem.Slice(phys, n)
	if err != nil {
		return fmt.Sprintf("not in memory (%#x)", phys)
	}
	return fmt.Sprintf("% x", b)
}

// internalError says what KVM could not do (api.rst, 5: KVM_EXIT_INTERNAL_ERROR).
func internalError(c *kvmapi.VCPU) string {
	kind, data := c.InternalError()
	what := map[uint32]string{
		kvmapi.InternalErrorEmulation:            "it cannot emulate an instruction",
		kvmapi.InternalErrorSimulEx:              "an event came while another was delivered",
		kvmapi.InternalErrorDeliveryEvent:        "an exception could not be delivered",
		kvmapi.InternalErrorUnexpectedExitReason: "an exit that it does not know",
	}[kind]
	if what == "" {
		what = fmt.Sprintf("kind %d", kind)
	}
	told := fmt.Sprintf("kvm gave up: %s %#x", what, data)
	if code := c.FailedInstruction(); code != nil {
		told += fmt.Sprintf(", the bytes from it on are % x", code)
	}
	if kind == kvmapi.InternalErrorEmulation {
		told += " (`holt doctor` says whether this host's KVM runs Linux; --backend qemu needs none)"
	}
	return told
}
