package snapshot

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Export writes an archive of the snapshot to w, from which [Store.Import] makes a
// snapshot on any host. It needs no other: what the snapshot lies on is in it, too.
// Everything is verified first. With compress the archive is compressed; it takes less
// space and more time. The working set is left out.
func (s *Snapshot) Export(ctx context.Context, w io.Writer, compress bool) error {
	err := s.Verify(ctx)
	if err == nil {
		err = s.export(ctx, w, compress)
	}
	if err != nil {
		return fmt.Errorf("export snapshot %s: %w", s.Manifest.Label(), err)
	}
	return nil
}

func (s *Snapshot) export(ctx context.Context, w io.Writer, compress bool) error {
	buffered := bufio.NewWriterSize(w, 64<<10)
	var flags uint32
	if compress {
		flags = flagZstd
	}
	head := binary.LittleEndian.AppendUint32([]byte(archiveMagic), archiveVersion)
	if _, err := buffered.Write(binary.LittleEndian.AppendUint32(head, flags)); err != nil {
		return err
	}
	if !compress {
		if err := s.sections(ctx, &archiveWriter{w: buffered}); err != nil {
			return err
		}
		return buffered.Flush()
	}
	// Guest memory is large and much of it compresses well at any level.
	z, err := zstd.NewWriter(buffered, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window))
	if err != nil {
		return err
	}
	err = s.sections(ctx, &archiveWriter{w: z})
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return buffered.Flush()
}

// sections writes all sections and the end.
func (s *Snapshot) sections(ctx context.Context, w *archiveWriter) error {
	m := s.Manifest
	m.Parent, m.Sections = "", nil
	text, err := encodeManifest(m)
	if err != nil {
		return err
	}
	if err := w.section(manifestName, int64(len(text)), func() error { return w.add(0, text) }); err != nil {
		return err
	}
	img, err := s.openMemory()
	if err != nil {
		return err
	}
	defer closeLayers(img)
	extents, err := flatten(img)
	if err != nil {
		return err
	}
	if err := w.extents(ctx, Memory, int64(img.Size), extents); err != nil {
		return err
	}
	for _, section := range s.Manifest.Sections {
		if section.Name == Memory || section.Name == Pages {
			continue
		}
		if err := s.copySection(ctx, w, section); err != nil {
			return fmt.Errorf("section %s: %w", section.Name, err)
		}
	}
	return w.end()
}

// copySection writes one section as it is.
func (s *Snapshot) copySection(ctx context.Context, w *archiveWriter, section Section) error {
	f, err := section.open(s.Path())
	if err != nil {
		return err
	}
	defer f.Close()
	extents, err := dataExtents(f, section.Size)
	if err != nil {
		return err
	}
	return w.extents(ctx, section.Name, section.Size, extents)
}
