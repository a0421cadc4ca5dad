package snapshot

import (
	"bytes"
	"encoding/binary"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// forged is an archive that is put together piece by piece.
type forged struct {
	b bytes.Buffer
	w archiveWriter
}

func newForged() *forged {
	f := &forged{}
	f.b.WriteString(archiveMagic)
	f.b.Write([]byte{archiveVersion, 0, 0, 0, 0, 0, 0, 0})
	f.w.w = &f.b
	return f
}

// section adds a section with one chunk, whose last page is filled up with zeros.
func (f *forged) section(name string, size int64, b []byte) *forged {
	if n := len(b) % align; n > 0 && size > int64(len(b)) {
		b = append(bytes.Clone(b), make([]byte, align-n)...)
	}
	_ = f.w.section(name, size, func() error { return f.w.add(0, b) })
	return f
}

// chunks adds a section with any chunks, which have an offset and a length.
func (f *forged) chunks(name string, size int64, chunks ...[2]uint64) *forged {
	_ = f.w.section(name, size, func() error {
		for _, c := range chunks {
			head := binary.LittleEndian.AppendUint64(nil, c[0])
			_ = f.w.write(binary.LittleEndian.AppendUint32(head, uint32(c[1])))
			_ = f.w.write(bytes.Repeat([]byte{1}, int(min(c[1], 2*maxChunk))))
		}
		return nil
	})
	return f
}

func (f *forged) manifest(change func(*Manifest)) *forged {
	m := manifest()
	m.Version, m.ID, m.Arch = Version, "0123456789ab", runtime.GOARCH
	change(&m)
	text, _ := encodeManifest(m)
	return f.section(manifestName, int64(len(text)), text)
}

func (f *forged) end() []byte {
	_ = f.w.end()
	return f.b.Bytes()
}

func plain(*Manifest) {}

// packed compresses an archive.
func packed(b []byte) []byte {
	head := append([]byte(archiveMagic), archiveVersion, 0, 0, 0, flagZstd, 0, 0, 0)
	z, _ := zstd.NewWriter(nil)
	return z.EncodeAll(b[headerBytes:], head)
}

// whole is an archive that can be imported.
func whole() *forged {
	return newForged().manifest(plain).
		section(State, 5, []byte("state")).
		section(DiskSection("root"), diskBytes, nil).
		section(Memory, memoryBytes, []byte("memory"))
}
