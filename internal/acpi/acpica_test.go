package acpi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// acpica runs a tool of the ACPI Component Architecture, whose interpreter is
// also the one in Linux, in the directory dir.
func acpica(t *testing.T, dir, tool string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is not installed: install the package acpica-tools", tool)
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// What iasl reads in a table must be all that is in it: compiling its source again
// gives the same bytes, and neither direction gives it anything to remark on.
func TestRoundTripThroughIASL(t *testing.T) {
	plain := machine(1, 1)
	plain.SerialPort, plain.SerialGSI, plain.VMGenIDAddr, plain.VMGenIDGSI = 0, 0, 0, 0
	high := machine(2, 1)
	high.VMGenIDAddr = 0x1_2345_6780
	configs := map[string]Config{"plain": plain, "high generation id": high}
	for _, cpus := range []int{1, 2, 64, 300} {
		for _, devices := range []int{0, 1, 24} {
			configs[fmt.Sprintf("%d cpus %d devices", cpus, devices)] = machine(cpus, devices)
		}
	}
	configs["1 cpu 300 devices"] = machine(1, 300)
	for name, c := range configs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, err := Build(testBase, c)
			if err != nil {
				t.Fatal(err)
			}
			for signature, table := range tables(t, image, testBase) {
				if signature != "RSDP" { // which iasl does not disassemble
					roundTrip(t, signature, table)
				}
			}
		})
	}
}

func roundTrip(t *testing.T, signature string, table []byte) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in.aml"), table, 0o600); err != nil {
		t.Fatal(err)
	}
	out := acpica(t, dir, "iasl", "-d", "in.aml")
	source, err := os.ReadFile(filepath.Join(dir, "in.dsl"))
	if err != nil {
		t.Fatalf("iasl -d %s: %v\n%s", signature, err, out)
	}
	for _, word := range []string{"warning", "error", "invalid", "incorrect", "unknown"} {
		if strings.Contains(strings.ToLower(out), word) || strings.Contains(strings.ToLower(string(source)), word) {
			t.Errorf("iasl finds something %q in the %s:\n%s\n%s", word, signature, out, source)
		}
	}
	out = acpica(t, dir, "iasl", "-oa", "-p", "out", "in.dsl")
	if !strings.Contains(out, "0 Errors, 0 Warnings, 0 Remarks") {
		t.Errorf("iasl on the source of the %s:\n%s", signature, out)
	}
	again, err := os.ReadFile(filepath.Join(dir, "out.aml"))
	if err != nil {
		t.Fatal(err)
	}
	if want, got := withoutCompiler(table), withoutCompiler(again); !bytes.Equal(got, want) {
		t.Errorf("the %s changed:\n% x\n% x\n%s", signature, want, got, source)
	}
}

// withoutCompiler clears what differs between any two compilers: their id and
// revision, and the checksum over them.
func withoutCompiler(table []byte) []byte {
	p := bytes.Clone(table)
	clear(p[28:36])
	p[9] = 0
	return p
}

func TestRSDPAsIASLCompilesIt(t *testing.T) {
	const source = `[0008] Signature : "RSD PTR "
[0001] Checksum : 00
[0006] Oem ID : "HOLT  "
[0001] Revision : 02
[0004] RSDT Address : 00000000
[0004] Length : 00000024
[0008] XSDT Address : 00000000000e1230
[0001] Extended Checksum : 00
[0003] Reserved : 000000
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rsdp.asl"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	out := acpica(t, dir, "iasl", "-p", "rsdp", "rsdp.asl")
	want, err := os.ReadFile(filepath.Join(dir, "rsdp.aml"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := rsdp(0xe1230); !bytes.Equal(got, want) {
		t.Errorf("RSDP is\n% x, iasl makes\n% x", got, want)
	}
}

// The interpreter runs the namespace: events reach the device that is meant,
// and objects have the values that Linux will see.
func TestNamespaceInInterpreter(t *testing.T) {
	c := machine(1, 24)
	c.PowerButtonGSI, c.VMGenIDGSI = 3, 1
	c.VMGenIDAddr = 0x1_2345_6780
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dsdt.aml"), dsdt(c), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, commands string
		want, never    []string
	}{
		{"power button", `execute \_SB.GED._EVT 3`, []string{"Notify on [PWRB]", "Value 0x80"}, []string{"[VGEN]"}},
		{"generation id", `execute \_SB.GED._EVT 1`, []string{"Notify on [VGEN]", "Value 0x80"}, []string{"[PWRB]"}},
		{"nobody's interrupt", `execute \_SB.GED._EVT 2`, nil, []string{"Notify"}},
		{"event interrupts", `resources \_SB.GED`, []string{"Dword00 : 00000003", "Dword00 : 00000001", "Triggering : Edge", "Sharing : Exclusive"}, []string{": Shared"}},
		{"virtio device", `resources \_SB.V017; evaluate \_SB.V017._UID; evaluate \_SB.V017._HID`, []string{
			"Address : D0017000", "Address Length : 00001000", "Dword00 : 00000009", "Triggering : Edge",
			"Polarity : ActiveHigh", "Sharing : Shared", "[Integer] = 0000000000000017", `"LNRO0005"`,
		}, nil},
		{"serial port", `resources \_SB.COM1`, []string{
			"Address Minimum : 03F8", "Address Maximum : 03F8", "Address Length : 08", "Dword00 : 00000004", "Triggering : Edge",
		}, nil},
		{"values", `evaluate \_S5; evaluate \_SB.VGEN.ADDR; evaluate \_SB.VGEN._CID`, []string{
			"4 Elements:\n    [Integer] = 0000000000000005",
			"2 Elements:\n    [Integer] = 0000000023456780\n    [Integer] = 0000000000000001",
			`"VM_GEN_COUNTER"`, // the interpreter makes capitals, for which Linux looks
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // acpiexec takes a second to end
			out := acpica(t, dir, "acpiexec", "-b", tt.commands, "dsdt.aml")
			for _, s := range tt.want {
				if !strings.Contains(out, s) {
					t.Errorf("no %q in:\n%s", s, out)
				}
			}
			for _, s := range append(tt.never, "Exception", "AE_AML") {
				if strings.Contains(out, s) {
					t.Errorf("%q in:\n%s", s, out)
				}
			}
		})
	}
}
