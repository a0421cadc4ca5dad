package kvm

import (
	"bytes"
	"testing"

	"github.com/holtvm/holt/internal/serial"
)

// testPorts is a machine's port bus on nothing; the endings that the guest asked
// for go to the slice.
func testPorts(out *bytes.Buffer, ends *[]endingKind) *bus {
	end := func(e ending) { *ends = append(*ends, e.kind) }
	b := &bus{}
	b.add(serialPort, serialPorts, comPort{serial.New(out, func() {})})
	b.add(powerPort, powerPorts, power{end})
	b.add(keyboardCommand, 1, keyboard{end})
	return b
}

// TestPowerPorts: only what ACPI says ends a machine, at any width.
func TestPowerPorts(t *testing.T) {
	const none = endingKind(-1)
	for _, c := range []struct {
		name string
		port uint64
		data []byte
		want endingKind
	}{
		{"S5", sleepControlPort, []byte{sleepEnable | 5<<sleepTypeShift}, poweredOff},
		{"S5, reserved bits", sleepControlPort, []byte{0xC3 | sleepEnable | 5<<sleepTypeShift}, poweredOff},
		{"S5, 2 bytes", sleepControlPort, []byte{sleepEnable | 5<<sleepTypeShift, 0xFF}, poweredOff},
		{"S5 without enable", sleepControlPort, []byte{5 << sleepTypeShift}, none},
		{"S0", sleepControlPort, []byte{sleepEnable}, none},
		{"S3", sleepControlPort, []byte{sleepEnable | 3<<sleepTypeShift}, none},
		{"S4", sleepControlPort, []byte{sleepEnable | 4<<sleepTypeShift}, none},
		{"type 7", sleepControlPort, []byte{sleepEnable | 7<<sleepTypeShift}, none},
		{"sleep status", sleepStatusPort, []byte{0xFF}, none},
		{"sleep status, wake", sleepStatusPort, []byte{0x80, resetValue}, none},
		{"reset", resetPort, []byte{resetValue}, reset},
		{"reset, 4 bytes", resetPort, []byte{resetValue, 0, 0, 0}, reset},
		{"not the reset value", resetPort, []byte{0xFF}, none},
		{"reset in the second byte", resetPort, []byte{0, resetValue}, none},
		{"nothing", resetPort, nil, none},
		{"nothing to sleep", sleepControlPort, []byte{}, none},
		{"keyboard pulse", keyboardCommand, []byte{keyboardReset}, reset},
		{"keyboard, another command", keyboardCommand, []byte{0xAE}, none},
		{"keyboard, nothing", keyboardCommand, nil, none},
		{"keyboard data", 0x60, []byte{keyboardReset}, none},
		{"behind the reset port", resetPort + 1, []byte{resetValue}, none},
		{"before the power ports", powerPort - 1, []byte{resetValue, sleepEnable | 5<<sleepTypeShift}, none},
	} {
		var ends []endingKind
		testPorts(&bytes.Buffer{}, &ends).write(c.port, c.data)
		if c.want == none && len(ends) != 0 || c.want != none && (len(ends) != 1 || ends[0] != c.want) {
			t.Errorf("%s: ends with %v, want %v", c.name, ends, c.want)
		}
	}
}

func TestReadPorts(t *testing.T) {
	for _, c := range []struct {
		name string
		port uint64
		want []byte
	}{
		{"sleep control", sleepControlPort, []byte{0}},
		{"sleep status", sleepStatusPort, []byte{0, 0}},
		{"reset", resetPort, []byte{0, 0, 0, 0}},
		{"keyboard", keyboardCommand, []byte{0, 0}}, // ready for a command
		{"line status", serialPort + 5, []byte{0x60}},
		{"line status, 4 bytes", serialPort + 5, []byte{0x60, 0, 0, 0}},
		{"nobody's", 0x70, []byte{0xFF, 0xFF, 0xFF, 0xFF}},
		{"the last", 0xFFFF, []byte{0xFF}},
		{"no bytes", serialPort, nil},
	} {
		got := bytes.Repeat([]byte{0x55}, len(c.want))
		var ends []endingKind
		testPorts(&bytes.Buffer{}, &ends).read(c.port, got)
		if !bytes.Equal(got, c.want) || ends != nil {
			t.Errorf("%s: reads %x, want %x, and ends with %v", c.name, got, c.want, ends)
		}
	}
}

func TestComPortIsAByteWide(t *testing.T) {
	var out bytes.Buffer
	b := testPorts(&out, new([]endingKind))
	b.write(serialPort, []byte("abc"))
	b.write(serialPort, nil)
	b.write(serialPort, []byte("d"))
	b.find(serialPort).handler.(comPort).uart.Flush()
	if out.String() != "ad" {
		t.Errorf("printed %q, want the first byte of each write", &out)
	}
}
