package kvm

import (
	"strings"
	"testing"
)

// TestReportShowsTheInstruction has a guest use a register of a device as an
// operand of the FPU, which KVM would have to emulate and does not know.
func TestReportShowsTheInstruction(t *testing.T) {
	code := append([]byte{
		0xB9, 0x00, 0x00, 0x00, 0xD0, // mov ecx, 0xD0000000
		0xD8, 0x01, // fadd dword [rcx]
	}, codeOff...)
	err := wait(t, launch(t, spec(t, code)))
	if err == nil {
		t.Fatal("the guest went on")
	}
	for _, want := range []string{"vCPU 0: kvm gave up: it cannot emulate an instruction", ", the bytes from it on are d8 01 66 ba", " code d8 01 66 ba"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}
