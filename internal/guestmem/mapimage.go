package guestmem

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// MapImage maps the image as guest memory. The regions have no files of their own and
// are together as large as the image. What is written to the memory is this process's
// alone: neither the image's files nor another Memory of the same image change.
//
// It reads nothing, so its time does not grow with memory, except for an image in very
// many pieces: the shortest of those are copied, and count as [Memory.Touched].
func MapImage(regions []Region, img *Image) (*Memory, error) {
	if err := img.Check(); err != nil {
		return nil, err
	}
	sorted, err := arrange(regions)
	if err != nil {
		return nil, fmt.Errorf("map memory image: %w", err)
	}
	var total uint64
	for _, r := range sorted {
		if r.File != nil || r.GuestAddr%PageSize != 0 || r.Size%PageSize != 0 {
			return nil, fmt.Errorf("map memory image: bad region of %d bytes at %#x", r.Size, r.GuestAddr)
		}
		total += r.Size
	}
	if total != img.Size {
		return nil, fmt.Errorf("map memory image: it has %d bytes, the regions %d", img.Size, total)
	}
	m := &Memory{image: img}
	for _, r := range sorted {
		host, whole, err := congruent(r, unix.PROT_NONE)
		if err != nil {
			m.Close()
			return nil, fmt.Errorf("map memory image: %d bytes at %#x: %w", r.Size, r.GuestAddr, err)
		}
		m.maps = append(m.maps, mapping{guest: r.GuestAddr, host: host, whole: whole})
	}
	mapped, copied := img.plan(maxPieces)
	for i, part := range m.parts() {
		if err := img.fill(m.maps[i].host, part, mapped, copied); err != nil {
			m.Close()
			return nil, fmt.Errorf("map memory image: %w", err)
		}
	}
	return m, nil
}

// Image is what the memory was last based on, by [MapImage] or [Memory.Rebase]; nil for
// memory that began empty.
func (m *Memory) Image() *Image { return m.image }

// fill maps and copies what of the image is in part to host, which is as large.
func (img *Image) fill(host []byte, part Run, mapped, copied []piece) error {
	for _, p := range append([]piece{{part, 0}}, within(mapped, part)...) {
		if err := mapOver(slice(host, part, p.Run), img.Layers[p.layer].File, offset(p.Page)); err != nil {
			return fmt.Errorf("%d pages from page %d of layer %d: %w", p.Count, p.Page, p.layer, err)
		}
	}
	for _, p := range within(copied, part) {
		if _, err := img.Layers[p.layer].File.ReadAt(slice(host, part, p.Run), offset(p.Page)); err != nil {
			return fmt.Errorf("read %d pages from page %d of layer %d: %w", p.Count, p.Page, p.layer, err)
		}
	}
	return nil
}

// slice is the bytes of r, where b are those of all.
func slice(b []byte, all, r Run) []byte {
	return b[offset(r.Page-all.Page):][:offset(r.Count)]
}

// offset is where a page begins, in bytes.
func offset(page uint32) int64 { return int64(page) * PageSize }
