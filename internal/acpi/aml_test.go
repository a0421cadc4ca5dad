package acpi

import (
	"bytes"
	"strings"
	"testing"
)

func TestEncodings(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"zero", integer(0), "\x00"},
		{"one", integer(1), "\x01"},
		{"byte", integer(2), "\x0a\x02"},
		{"byte, largest", integer(0xff), "\x0a\xff"},
		{"word", integer(0x100), "\x0b\x00\x01"},
		{"word, largest", integer(0xffff), "\x0b\xff\xff"},
		{"dword", integer(0x10000), "\x0c\x00\x00\x01\x00"},
		{"dword, largest", integer(0xffffffff), "\x0c\xff\xff\xff\xff"},
		{"qword", integer(0x100000000), "\x0e\x00\x00\x00\x00\x01\x00\x00\x00"},
		{"string", text("HOLT"), "\x0dHOLT\x00"},
		{"name", named("_UID", integer(7)), "\x08_UID\x0a\x07"},
		{"root name", named(`\_S5_`, packageOf(integer(5), integer(0))), "\x08\\_S5_\x12\x05\x02\x0a\x05\x00"},
		{"scope", scope(`\_SB_`), "\x10\x06\\_SB_"},
		{"device", device("DEV0", named("_UID", integer(0))), "\x5b\x82\x0bDEV0\x08_UID\x00"},
		{"method", method("_EVT", 1, notify("PWRB", 0x80)), "\x14\x0d_EVT\x01\x86PWRB\x0a\x80"},
		{"if", ifArg0Equals(5, notify("PWRB", 0x80)), "\xa0\x0c\x93\x68\x0a\x05\x86PWRB\x0a\x80"},
		{"buffer", buffer([]byte{1, 2, 3}), "\x11\x06\x0a\x03\x01\x02\x03"},
		{"no resources", resources(), "\x11\x05\x0a\x02\x79\x00"},
		{"memory", memory(0xd0001000, 0x200), "\x86\x09\x00\x01\x00\x10\x00\xd0\x00\x02\x00\x00"},
		{"ports", ioPorts(0x3f8, 8), "\x47\x01\xf8\x03\xf8\x03\x01\x08"},
		{"interrupt", interrupt(4, exclusive), "\x89\x06\x00\x03\x01\x04\x00\x00\x00"},
		{"shared interrupt", interrupt(0x102, shared), "\x89\x06\x00\x0b\x01\x02\x01\x00\x00"},
	} {
		if string(tt.got) != tt.want {
			t.Errorf("%s is % x, not % x", tt.name, tt.got, tt.want)
		}
	}
}

func TestPkgLength(t *testing.T) {
	for _, tt := range []struct {
		n    int
		want string
	}{
		{0, "\x01"},
		{62, "\x3f"},
		{63, "\x41\x04"},
		{4093, "\x4f\xff"},
		{4094, "\x81\x00\x01"},
		{1<<20 - 4, "\x8f\xff\xff"},
		{1<<20 - 3, "\xc1\x00\x00\x01"},
		{1<<28 - 5, "\xcf\xff\xff\xff"},
	} {
		got := pkgLength(tt.n)
		if string(got) != tt.want {
			t.Errorf("%d bytes: % x, not % x", tt.n, got, tt.want)
		}
	}
}

func TestLongDeviceHoldsItsTerms(t *testing.T) {
	term := named("_DDN", text(strings.Repeat("x", 100)))
	got := device("DEV0", term)
	if want := append([]byte("\x5b\x82\x41\x07DEV0"), term...); len(got)-2 != 0x71 || !bytes.Equal(got, want) {
		t.Errorf("%d bytes: % x, not % x", len(got), got, want)
	}
}
