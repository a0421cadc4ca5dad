package snapshot

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// stored is a manifest as it is in a snapshot.
func stored() Manifest {
	m := manifest()
	m.Version, m.ID, m.Arch = Version, "0123456789ab", "amd64"
	m.Sections = []Section{
		{Name: State, Size: 10, Data: 10},
		{Name: Memory, Size: memoryBytes, Data: align, CRC32C: 1 << 31},
		{Name: DiskSection("root"), Size: diskBytes},
	}
	return m
}

func TestManifestIsReadAgain(t *testing.T) {
	m := stored()
	text, err := encodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeManifest(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.checkSections(); err != nil {
		t.Error(err)
	}
	got.Config = bytes.Join(bytes.Fields(got.Config), nil) // it was indented
	if !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v, want %+v", got, m)
	}
}

func TestManifestText(t *testing.T) {
	whole, err := encodeManifest(stored())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, text, want string }{
		{"later version", `{"version": 2, "new": 1}`, "manifest: version 2, and this holt knows version 1: use the holt that made it"},
		{"no version", `{}`, "manifest: version 0, and this holt knows version 1: use the holt that made it"},
		{"no JSON", `x`, "manifest: invalid character 'x' looking for beginning of value"},
		{"nothing", ``, "manifest: unexpected end of JSON input"},
		{"unknown key", strings.Replace(string(whole), "{", `{"what": 1,`, 1), `manifest: json: unknown field "what"`},
		{"trailing", string(whole) + "x", "manifest: invalid character 'x' after top-level value"},
		{"too long", string(whole) + strings.Repeat(" ", maxManifest), "manifest: more than 1048576 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := decodeManifest([]byte(tt.text)); err == nil || err.Error() != tt.want {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func TestManifestIsChecked(t *testing.T) {
	long := strings.Repeat("x", maxText+1)
	tests := []struct {
		change func(*Manifest)
		want   string
	}{
		{func(m *Manifest) { m.ID = "../../etc" }, `id "../../etc": must be 12 hexadecimal digits`},
		{func(m *Manifest) { m.Parent = ".." }, `parent "..": must be an id of 12 hexadecimal digits`},
		{func(m *Manifest) { m.Name = "a/b" }, `snapshot name "a/b": must be 1 to 63 letters`},
		{func(m *Manifest) { m.Name = "abcdefabcdef" }, `looks like an id`},
		{func(m *Manifest) { m.Arch = "" }, "names no architecture"},
		{func(m *Manifest) { m.Memory = 0 }, "memory of 0 bytes: must be a multiple of 1 MiB below 16 TiB"},
		{func(m *Manifest) { m.Memory = 1<<20 + 4096 }, "memory of 1052672 bytes"},
		{func(m *Manifest) { m.Memory = 1 << 44 }, "memory of 17592186044416 bytes"},
		{func(m *Manifest) { m.VCPUs = 0 }, "0 vCPUs: must be 1 to 4096"},
		{func(m *Manifest) { m.VCPUs = 4097 }, "4097 vCPUs: must be 1 to 4096"},
		{func(m *Manifest) { m.VM = long }, "must be UTF-8 of at most 256 bytes"},
		{func(m *Manifest) { m.CPUFeatures = []string{long} }, "must be UTF-8 of at most 256 bytes"},
		{func(m *Manifest) { m.CPUFeatures = make([]string, 4097) }, "4097 features of the processor: at most 4096 are possible"},
		{func(m *Manifest) { m.Needs.Ports = []string{long} }, "must be UTF-8 of at most 256 bytes"},
		{func(m *Manifest) { m.Needs.Dirs[0].Host = "relative" }, `shared directory: path "relative": must be absolute and UTF-8 of at most 4096 bytes`},
		{func(m *Manifest) { m.Needs.Dirs[0].Guest = "/a\x00b" }, `shared directory: path "/a\x00b": must be absolute`},
		{func(m *Manifest) { m.Needs.Disks[0].Path = "/a\xff" }, `disk root: path "/a\xff": must be absolute`},
		{func(m *Manifest) { m.Needs.Disks[0].Name = "../x" }, `disk name "../x": must be 1 to 63 letters`},
		{func(m *Manifest) { m.Needs.Disks[0].Name = "0" }, `two disks have the name "0"`},
		{func(m *Manifest) { m.Needs.Disks[0].Size = -1 }, "disk root: a size of -1 bytes"},
		// Its sections.
		{func(m *Manifest) { m.Sections = m.Sections[1:] }, "section state.json: is missing"},
		{func(m *Manifest) { m.Sections = m.Sections[:2] }, "section disk-root: is missing"},
		{func(m *Manifest) { m.Sections = append(m.Sections, m.Sections[1]) }, `section "memory": is there twice, or this snapshot has none`},
		{func(m *Manifest) { m.Sections[0].Name = "../x" }, `section "../x": is there twice, or this snapshot has none`},
		{func(m *Manifest) { m.Sections[0].Name = Pages }, `section "pages": is there twice, or this snapshot has none`},
		{func(m *Manifest) { m.Sections[0].Size = 1 << 40 }, "section state.json: 1099511627776 bytes, and at most 268435456 are possible"},
		{func(m *Manifest) { m.Sections[0].Size = -1 }, "section state.json: a size of -1 bytes"},
		{func(m *Manifest) { m.Sections[0].Data = 11 }, "section state.json: 11 bytes of data in 10"},
		{func(m *Manifest) { m.Sections[1].Size++ }, "section memory: 1048577 bytes, and it must have 1048576"},
		{func(m *Manifest) { m.Sections[2].Size-- }, "section disk-root: 12387 bytes, and it must have 12388"},
		{func(m *Manifest) { m.Parent = "ffffffffffff" }, "section pages: is missing"},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			m := stored()
			tt.change(&m)
			err := m.check()
			if err == nil {
				err = m.checkSections()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

// What is read of any text is written so that the same is read again.
func FuzzManifest(f *testing.F) {
	text, err := encodeManifest(stored())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"version":1,"id":"0123456789ab","arch":"arm64","memory":1048576,"vcpus":1,"created":"2020-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeManifest(b)
		if err != nil {
			return
		}
		_ = m.checkSections()
		text, err := encodeManifest(m)
		if err != nil {
			if len(text) > maxManifest { // indenting made it too long
				return
			}
			t.Fatalf("%s is read, and not written: %v", b, err)
		}
		again, err := decodeManifest(text)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := encodeManifest(again); err != nil || !bytes.Equal(text, same) {
			t.Errorf("written as\n%s\nand then as\n%s (%v)", text, same, err)
		}
	})
}
