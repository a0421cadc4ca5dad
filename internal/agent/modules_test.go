package agent

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestUnsigned(t *testing.T) {
	info := func(size string) string { return strings.Repeat("\x00", 8) + size }
	tests := []struct{ name, in, want string }{
		{"unsigned", "module", "module"},
		{"signed", "module" + "SIGNATUR" + info("\x00\x00\x00\x08") + signatureMagic, "module"},
		{"signature longer than the file", "module" + info("\x00\x00\x00\x07") + signatureMagic, ""},
		{"absurd length", "module" + info("\xff\xff\xff\xff") + signatureMagic, ""},
		{"nothing but the end", signatureMagic, ""},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		want := tt.want
		if want == "" {
			want = tt.in // left alone
		}
		if got := string(unsigned([]byte(tt.in))); got != want {
			t.Errorf("%s: %q, want %q", tt.name, got, want)
		}
	}
}

func TestReadManifest(t *testing.T) {
	dir := t.TempDir()
	if m, err := readManifest(dir); err != nil || m != nil {
		t.Errorf("without a manifest: %v, %v", m, err)
	}
	file := filepath.Join(dir, "modules.json")
	if err := os.WriteFile(file, []byte(`[{"file":"00-a.ko","name":"a","group":"core","sha256":"x"}]`), 0o644); err != nil {
		t.Fatal(err)
	}
	want := []module{{File: "00-a.ko", Name: "a", Group: "core"}}
	if m, err := readManifest(dir); err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("%v, %v", m, err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readManifest(dir); err == nil {
		t.Error("a broken manifest is accepted")
	}
}

func TestMissingModule(t *testing.T) {
	err := loadModules(t.TempDir(), []module{{File: "x.ko", Name: "fuse", Group: "core"}, {File: "y.ko", Name: "overlay", Group: "overlay"}}, groupCore)
	if err == nil || !strings.Contains(err.Error(), "load kernel module fuse") {
		t.Errorf("error %v", err)
	}
}

func FuzzUnsigned(f *testing.F) {
	f.Add([]byte("module" + "SIGNATUR" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08" + signatureMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := unsigned(b); len(got) > len(b) {
			t.Fatalf("%d bytes of %d", len(got), len(b))
		}
	})
}
