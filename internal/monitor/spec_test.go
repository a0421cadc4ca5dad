package monitor

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/agentproto"
)

func TestSpecRoundTrip(t *testing.T) {
	s := Spec{
		Backend: "auto", VCPUs: 2, MemoryBytes: 1 << 30, Kernel: "/k", Root: "/r", RootOverlay: true, Nested: true,
		Shares:  []Share{{Host: "/h", Guest: "/g", ReadOnly: true}},
		Program: agentproto.Program{Path: "sh", Args: []string{"-c", "x"}}, ConsoleOutput: "/c", KernelLog: true, LogLevel: -4,
	}
	var b bytes.Buffer
	if err := WriteSpec(&b, s); err != nil {
		t.Fatal(err)
	}
	got, err := ReadSpec(&b)
	s.Version = SpecVersion
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%+v, %v; want %+v", got, err, s)
	}
}

func TestSpecRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "read the VM's specification",
		"{":                         "read the VM's specification",
		`{"version":99,"novel":1}`:  "install the same version",
		`{"version":4,"unknown":1}`: "unknown",
		`{"version":2,"args":"` + strings.Repeat("x", maxSpec): "read the VM's specification",
	} {
		if _, err := ReadSpec(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v; want %q", text, err, want)
		}
	}
	big := Spec{Program: agentproto.Program{Args: []string{strings.Repeat("x", maxSpec)}}}
	if err := WriteSpec(new(bytes.Buffer), big); err == nil {
		t.Error("a specification that nobody would read is written")
	}
}
