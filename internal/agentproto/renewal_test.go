package agentproto

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// exampleRenewal has every key.
func exampleRenewal() Renewal {
	return Renewal{
		Hostname: "web-2", MachineID: "0123456789abcdef0123456789abcdef", BootID: "01234567-89ab-4def-8123-456789abcdef",
		ClockNS: 1764000000000000000, Seed: []byte("sixteen bytes ok"), OldMAC: "02:00:00:00:00:01",
		Network: networkBootSpec().Network, Program: &Program{Path: "/bin/true"},
	}
}

func TestValidateRenewal(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Renewal)
		want   string // part of the error, or empty if valid
	}{
		{"example", func(*Renewal) {}, ""},
		{"nothing", func(r *Renewal) { *r = Renewal{} }, ""},
		{"largest seed", func(r *Renewal) { r.Seed = make([]byte, 64) }, ""},
		{"old address alone", func(r *Renewal) { r.Network = nil }, ""},
		{"host name of two lines", func(r *Renewal) { r.Hostname = "a\nb" }, "hostname"},
		{"short machine id", func(r *Renewal) { r.MachineID = r.MachineID[1:] }, "machine_id"},
		{"upper-case machine id", func(r *Renewal) { r.MachineID = strings.ToUpper(r.MachineID) }, "machine_id"},
		{"no machine's id", func(r *Renewal) { r.MachineID = strings.Repeat("0", 32) }, "machine_id"},
		{"machine id with a newline", func(r *Renewal) { r.MachineID = r.MachineID[1:] + "\n" }, "machine_id"},
		{"boot id without hyphens", func(r *Renewal) { r.BootID = r.MachineID }, "boot_id"},
		{"boot id with a space", func(r *Renewal) { r.BootID = " " + r.BootID[1:] }, "boot_id"},
		{"long boot id", func(r *Renewal) { r.BootID += "-0" }, "boot_id"},
		{"clock before 1970", func(r *Renewal) { r.ClockNS = -1 }, "clock_ns"},
		{"short seed", func(r *Renewal) { r.Seed = make([]byte, 15) }, "seed: 15 bytes"},
		{"long seed", func(r *Renewal) { r.Seed = make([]byte, 65) }, "seed: 65 bytes"},
		{"bad network", func(r *Renewal) { r.Network.MTU = 1 }, "network: mtu"},
		{"network without an old address", func(r *Renewal) { r.OldMAC = "" }, "old_mac"},
		{"a group's address", func(r *Renewal) { r.Network, r.OldMAC = nil, "01:00:00:00:00:01" }, "old_mac"},
		{"bad program", func(r *Renewal) { r.Program.Path = "" }, "program: path"},
	} {
		r := exampleRenewal()
		tt.change(&r)
		err := r.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
		b, jerr := json.Marshal(r)
		if jerr != nil {
			t.Fatal(jerr)
		}
		if got, derr := DecodeRenewal(b); (derr == nil) != (err == nil) || err == nil && !reflect.DeepEqual(got, r) {
			t.Errorf("%s: decoded %+v, %v", tt.name, got, derr)
		}
	}
	if _, err := DecodeRenewal([]byte(`{"mac":"02:00:00:00:00:01"}`)); err == nil {
		t.Error("an unknown key is accepted")
	}
}

// TestHeld: a program that is not there yet need not be valid, and all else must.
func TestHeld(t *testing.T) {
	s := heldBootSpec()
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	s.Mounts = nil
	if s.Validate() == nil {
		t.Error("no root is accepted")
	}
	s = heldBootSpec()
	if s.Hold = false; s.Validate() == nil {
		t.Error("no program is accepted")
	}
}

func TestDecodeFreeze(t *testing.T) {
	for _, in := range []string{`{}`, `{"addr":0}`, `{"addr":4097}`, `{"addr":-4096}`, `{"addr":18446744073709551616}`, `{"addr":"4096"}`} {
		if f, err := DecodeFreeze([]byte(in)); err == nil {
			t.Errorf("%s is accepted: %+v", in, f)
		} else if _, ok := errors.AsType[*ViolationError](err); !ok {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// FuzzRenewal decodes renewals. What is accepted is written back as the same, and holds
// nothing that ends a line of the files that it goes into.
func FuzzRenewal(f *testing.F) {
	for _, r := range []Renewal{exampleRenewal(), {}} {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	line := regexp.MustCompile(`^[0-9a-f-]*$`)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRenewal(b)
		if err != nil {
			return
		}
		if !line.MatchString(r.MachineID) || !line.MatchString(r.BootID) || len(r.MachineID)+len(r.BootID) > 32+36 || len(r.Seed) > MaxSeed {
			t.Fatalf("accepted %+v", r)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := DecodeRenewal(again); err != nil {
			t.Fatalf("%s: %v", again, err)
		} else if third, err := json.Marshal(second); err != nil || !bytes.Equal(third, again) {
			t.Fatalf("%s became %s, %v", again, third, err)
		}
	})
}
