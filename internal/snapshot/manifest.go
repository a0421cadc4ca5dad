package snapshot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Version is the version of the manifest that this package writes, and the only one
// that it reads.
const Version = 1

// Manifest is what a snapshot says of itself.
type Manifest struct {
	Version int       `json:"version"`
	ID      string    `json:"id"` // 12 hexadecimal digits; the directory's name
	Name    string    `json:"name,omitempty"`
	Created time.Time `json:"created"`
	Holt    string    `json:"holt,omitempty"` // the version of the program that made it
	Arch    string    `json:"arch"`           // GOARCH of the host that it was made on
	VM      string    `json:"vm,omitempty"`   // the label of the VM that it is of
	// Parent is the id of the snapshot that this one lists its changes against. Empty:
	// it is whole.
	Parent  string `json:"parent,omitempty"`
	Memory  uint64 `json:"memory"` // bytes; a multiple of 1 MiB
	VCPUs   int    `json:"vcpus"`
	Program bool   `json:"program,omitempty"` // the main program runs in it
	// Config is a holt.Config, and Options is how it was run; both are the business
	// of package holt.
	Config  json.RawMessage `json:"config,omitempty"`
	Options json.RawMessage `json:"options,omitempty"`
	// CPUVendor and CPUFeatures are what a processor must have for the guest to go on.
	CPUVendor   string   `json:"cpu_vendor,omitempty"`
	CPUFeatures []string `json:"cpu_features,omitempty"`
	Needs       Needs    `json:"needs"`
	// Imported says that Config, Options and Needs are whoever's word who made the
	// archive that it is from.
	Imported bool `json:"imported,omitempty"`
	// Sections are the snapshot's files but for the manifest and the working set. In
	// an archive there are none: it has its own.
	Sections []Section `json:"sections,omitempty"`
}

// Needs is what the guest uses of the host.
type Needs struct {
	Dirs  []Dir    `json:"dirs,omitempty"`
	Disks []Disk   `json:"disks,omitempty"`
	Ports []string `json:"ports,omitempty"` // as package holt writes them
}

// Dir is a directory that is shared with the guest.
type Dir struct {
	Host     string `json:"host"`  // absolute
	Guest    string `json:"guest"` // absolute
	ReadOnly bool   `json:"read_only,omitempty"`
	Dev      uint64 `json:"dev,omitempty"` // stat(2)'s
	Ino      uint64 `json:"ino,omitempty"`
}

// Disk is a disk of the guest's.
type Disk struct {
	Name     string    `json:"name"` // as names of snapshots are; no other disk has it
	Path     string    `json:"path"` // of the image on the host; absolute
	Size     int64     `json:"size"` // bytes
	ReadOnly bool      `json:"read_only,omitempty"`
	MTime    time.Time `json:"mtime,omitzero"`
	Dev      uint64    `json:"dev,omitempty"` // stat(2)'s
	Ino      uint64    `json:"ino,omitempty"`
	// Saved says that the content is in the snapshot, in the section
	// [DiskSection](Name).
	Saved bool `json:"saved,omitempty"`
}

// Section is one file of a snapshot.
type Section struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
	// Data is how many of the bytes were no holes when the snapshot was made.
	Data int64 `json:"data"`
	// CRC32C is the checksum (Castagnoli's polynomial) of all bytes, holes being
	// zeros.
	CRC32C uint32 `json:"crc32c"`
}

// Label is how a snapshot is called: by its name or, without one, its id.
func (m Manifest) Label() string {
	if m.Name != "" {
		return m.Name
	}
	return m.ID
}

// Data is how many bytes the snapshot has that are no holes, in all sections.
func (m Manifest) Data() int64 {
	var n int64
	for _, s := range m.Sections {
		n += s.Data
	}
	return n
}

// section returns the section with a name. A checked manifest has all that a snapshot
// must have.
func (m Manifest) section(name string) (Section, bool) {
	for _, s := range m.Sections {
		if s.Name == name {
			return s, true
		}
	}
	return Section{}, false
}

// encodeManifest returns the text of a manifest that can be read again.
func encodeManifest(m Manifest) ([]byte, error) {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	text = append(text, '\n')
	_, err = decodeManifest(text)
	return text, err
}

// decodeManifest reads a manifest. What it returns is checked, but for the sections:
// see checkSections.
func decodeManifest(text []byte) (Manifest, error) {
	if len(text) > maxManifest {
		return Manifest{}, fmt.Errorf("manifest: more than %d bytes", maxManifest)
	}
	// The version comes first: another one may have other keys.
	var v struct{ Version int }
	if err := json.Unmarshal(text, &v); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	if v.Version != Version {
		return Manifest{}, fmt.Errorf("manifest: version %d, and this holt knows version %d: use the holt that made it", v.Version, Version)
	}
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}
