package snapshot

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/names"
)

// Bounds of what is read before it is trusted.
const (
	maxManifest = 1 << 20   // bytes
	maxState    = 256 << 20 // bytes
	maxRuns     = 256 << 20 // bytes of a list of runs
	memoryUnit  = 1 << 20   // guest memory is a multiple of it, in bytes
	maxMemory   = 1<<44 - memoryUnit
	maxVCPUs    = 4096 // Linux's KVM_MAX_VCPUS at its highest
	maxText     = 256  // bytes of a label, a version, a port
	maxPath     = 4096 // bytes; Linux's PATH_MAX
	maxFeatures = 4096
)

// CheckName says what is wrong with a name for a snapshot.
func CheckName(name string) error { return names.Check("snapshot", name) }

// check says what is wrong with a manifest, whatever its sections are.
func (m Manifest) check() error {
	if m.Name != "" {
		if err := CheckName(m.Name); err != nil {
			return err
		}
	}
	switch {
	case !names.IsID(m.ID):
		return fmt.Errorf("id %.80q: must be 12 hexadecimal digits", m.ID)
	case m.Parent != "" && !names.IsID(m.Parent):
		return fmt.Errorf("parent %.80q: must be an id of 12 hexadecimal digits", m.Parent)
	case m.Memory == 0 || m.Memory > maxMemory || m.Memory%memoryUnit != 0:
		return fmt.Errorf("memory of %d bytes: must be a multiple of 1 MiB below 16 TiB", m.Memory)
	case m.VCPUs < 1 || m.VCPUs > maxVCPUs:
		return fmt.Errorf("%d vCPUs: must be 1 to %d", m.VCPUs, maxVCPUs)
	case len(m.CPUFeatures) > maxFeatures:
		return fmt.Errorf("%d features of the processor: at most %d are possible", len(m.CPUFeatures), maxFeatures)
	case m.Arch == "":
		return errors.New("names no architecture")
	}
	texts := slices.Concat([]string{m.Holt, m.Arch, m.VM, m.CPUVendor}, m.CPUFeatures, m.Needs.Ports)
	for _, text := range texts {
		if len(text) > maxText || !utf8.ValidString(text) {
			return fmt.Errorf("%.80q: must be UTF-8 of at most %d bytes", text, maxText)
		}
	}
	return m.Needs.check()
}

func (n Needs) check() error {
	for _, d := range n.Dirs {
		if err := errors.Join(checkPath(d.Host), checkPath(d.Guest)); err != nil {
			return fmt.Errorf("shared directory: %w", err)
		}
	}
	named := map[string]bool{}
	for _, d := range n.Disks {
		switch {
		case !names.IsName(d.Name):
			return fmt.Errorf("disk name %.80q: must be 1 to 63 letters, digits, '_', '.' or '-', and begin with a letter or digit", d.Name)
		case named[d.Name]:
			return fmt.Errorf("two disks have the name %q", d.Name)
		case d.Size < 0:
			return fmt.Errorf("disk %s: a size of %d bytes", d.Name, d.Size)
		}
		named[d.Name] = true
		if err := checkPath(d.Path); err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
	}
	return nil
}

// checkPath refuses what would be another file elsewhere, or cannot be written down.
func checkPath(path string) error {
	if !filepath.IsAbs(path) || len(path) > maxPath || strings.ContainsRune(path, 0) || !utf8.ValidString(path) {
		return fmt.Errorf("path %.80q: must be absolute and UTF-8 of at most %d bytes", path, maxPath)
	}
	return nil
}

// pages is the memory's size in pages.
func (m Manifest) pages() uint32 { return uint32(m.Memory / guestmem.PageSize) }

// sizes are the sections that the snapshot must have and no others, each with its
// size in bytes, or -1 if the section itself decides.
func (m Manifest) sizes() map[string]int64 {
	sizes := map[string]int64{State: -1, Memory: int64(m.Memory)}
	if m.Parent != "" {
		sizes[Pages] = -1
	}
	for _, d := range m.Needs.Disks {
		if d.Saved {
			sizes[DiskSection(d.Name)] = d.Size
		}
	}
	return sizes
}

// checkSize says whether a section may have size bytes, when want is that of sizes.
func checkSize(name string, size, want int64) error {
	most := int64(maxState)
	if name == Pages {
		most = maxRuns
	}
	switch {
	case size < 0:
		return fmt.Errorf("section %s: a size of %d bytes", name, size)
	case want >= 0 && size != want:
		return fmt.Errorf("section %s: %d bytes, and it must have %d", name, size, want)
	case want < 0 && size > most:
		return fmt.Errorf("section %s: %d bytes, and at most %d are possible", name, size, most)
	}
	return nil
}

// checkSections says what is wrong with the sections that a manifest lists.
func (m Manifest) checkSections() error {
	missing := m.sizes()
	for _, s := range m.Sections {
		want, ok := missing[s.Name]
		if !ok {
			return fmt.Errorf("section %.80q: is there twice, or this snapshot has none", s.Name)
		}
		delete(missing, s.Name)
		if err := checkSize(s.Name, s.Size, want); err != nil {
			return err
		}
		if s.Data < 0 || s.Data > s.Size {
			return fmt.Errorf("section %s: %d bytes of data in %d", s.Name, s.Data, s.Size)
		}
	}
	return checkMissing(missing)
}

// checkMissing fails if a section is left over.
func checkMissing(missing map[string]int64) error {
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		return fmt.Errorf("section %s: is missing", name)
	}
	return nil
}
