package snapshot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestImportRefuses(t *testing.T) {
	damaged := "is damaged"
	other := "mips"
	tests := []struct {
		name string
		b    []byte
		want string
	}{
		{"nothing", nil, "the archive is cut off: it is damaged"},
		{"another file", []byte("PK\x03\x04 some file of another kind"), "it is no archive of a snapshot"},
		{"later version", []byte(archiveMagic + "\x02\x00\x00\x00\x00\x00\x00\x00"), "an archive of version 2, and this holt knows version 1: use the holt that made it"},
		{"unknown flags", []byte(archiveMagic + "\x01\x00\x00\x00\x02\x00\x00\x00"), "an archive with unknown flags 0x2: use the holt that made it"},
		{"no zstd", []byte(archiveMagic + "\x01\x00\x00\x00\x01\x00\x00\x00 other"), "read the archive: "},
		{"no sections", newForged().end(), "the archive does not begin with a section manifest.json"},
		{"no manifest", newForged().section(State, 1, []byte{1}).end(), "the archive does not begin with a section manifest.json"},
		{"huge manifest", newForged().section(manifestName, 1<<40, nil).end(), "section manifest.json: 1099511627776 bytes, and at most 1048576 are possible"},
		{"bad manifest", newForged().section(manifestName, 2, []byte("{}")).end(), "manifest: version 0, and this holt knows version 1"},
		{"other architecture", newForged().manifest(func(m *Manifest) { m.Arch = other }).end(), "the snapshot was made on mips, and this is "},
		{"differential", newForged().manifest(func(m *Manifest) { m.Parent = "ffffffffffff" }).end(), "manifest: that of an archive has no parent and no sections"},
		{"lists sections", newForged().manifest(func(m *Manifest) { m.Sections = []Section{{Name: State}} }).end(), "manifest: that of an archive has no parent and no sections"},
		{"manifest twice", whole().manifest(plain).end(), `section "manifest.json": is there twice, or this snapshot has none`},
		{"section twice", whole().section(State, 0, nil).end(), `section "state.json": is there twice, or this snapshot has none`},
		{"lock", whole().section(lockName, 0, nil).end(), `section "lock": is there twice`},
		{"way out", whole().section("../../x", 0, nil).end(), `section "../../x": is there twice`},
		{"unknown disk", whole().section("disk-0", 5, nil).end(), `section "disk-0": is there twice`},
		{"no memory", newForged().manifest(plain).section(State, 1, []byte{1}).section("disk-root", diskBytes, nil).end(), "section memory: is missing"},
		{"short memory", newForged().manifest(plain).section(Memory, 5, nil).end(), "section memory: 5 bytes, and it must have 1048576"},
		{"long disk", newForged().manifest(plain).section("disk-root", diskBytes+1, nil).end(), "section disk-root: 12389 bytes, and it must have 12388"},
		{"huge state", newForged().manifest(plain).section(State, 1<<60, nil).end(), "section state.json: 1152921504606846976 bytes, and at most 268435456 are possible"},
		{"negative size", newForged().manifest(plain).section(State, -1, nil).end(), `section "state.json": a size of 18446744073709551615 bytes`},
		{"chunk not aligned", newForged().manifest(plain).chunks(Memory, memoryBytes, [2]uint64{100, align}).end(), "section memory: a chunk of 4096 bytes at 100 of 1048576"},
		{"short chunk", newForged().manifest(plain).chunks(Memory, memoryBytes, [2]uint64{0, 100}).end(), "section memory: a chunk of 100 bytes at 0 of 1048576"},
		{"chunk past the end", newForged().manifest(plain).chunks(Memory, memoryBytes, [2]uint64{memoryBytes - align, 2 * align}).end(), "section memory: a chunk of 8192 bytes at 1044480 of 1048576"},
		{"chunk far past the end", newForged().manifest(plain).chunks(Memory, memoryBytes, [2]uint64{1<<64 - align, 2 * align}).end(), "section memory: a chunk of 8192 bytes at 18446744073709547520 of 1048576"},
		{"huge chunk", newForged().manifest(func(m *Manifest) { m.Memory = 4 << 20 }).chunks(Memory, 4<<20, [2]uint64{0, 2 << 20}).end(), "section memory: a chunk of 2097152 bytes at 0 of 4194304"},
		{"longest chunk", newForged().manifest(plain).chunks(Memory, memoryBytes, [2]uint64{0, 1<<32 - 1}).end(), "section memory: a chunk of 4294967295 bytes at 0"},
		{"chunk twice", newForged().manifest(plain).chunks(Memory, memoryBytes, [2]uint64{0, align}, [2]uint64{0, align}).end(), "section memory: a chunk of 4096 bytes at 0 of 1048576, after 4096"},
		{"empty chunk", newForged().manifest(plain).chunks(Memory, memoryBytes, [2]uint64{align, 0}).end(), "section memory: a chunk of 0 bytes at 4096 of 1048576"},
		{"trailing", append(whole().end(), 0), "something follows the archive's end: it is damaged"},
		{"trailing what is compressed", append(packed(whole().end()), "other"...), "read the archive's end: "},
		{"trailing inside", packed(append(whole().end(), 0)), "something follows the archive's end: it is damaged"},
		{"no end", whole().b.Bytes(), "the archive is cut off: it is damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := OpenAt(t.TempDir())
			_, err := s.Import(t.Context(), bytes.NewReader(tt.b), "")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			if strings.Contains(tt.want, damaged) != errors.Is(err, ErrDamaged) && !strings.Contains(tt.want, "a chunk") {
				t.Errorf("%v: is it damaged?", err)
			}
			if left := inStore(t, s); left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	if _, err := OpenAt(t.TempDir()).Import(t.Context(), bytes.NewReader(whole().end()), ""); err != nil {
		t.Errorf("the archive that all others differ from: %v", err)
	}
}

// A small archive that says that it is large takes neither space nor memory, and a
// reader that breaks off is told apart from an archive that does.
func TestImportOfLargeClaims(t *testing.T) {
	const memory = 1 << 40
	b := newForged().manifest(func(m *Manifest) { m.Memory = memory }).
		section(State, 5, []byte("state")).
		section(DiskSection("root"), diskBytes, nil).
		section(Memory, memory, []byte("memory")).end()
	s := OpenAt(t.TempDir())
	got, err := s.Import(t.Context(), bytes.NewReader(b), "")
	if err != nil {
		t.Fatal(err)
	}
	if n := blocks(t, got, Memory); n != align {
		t.Errorf("%d bytes take space", n)
	}
	broken := io.MultiReader(bytes.NewReader(b[:len(b)/2]), failing{})
	if _, err := s.Import(t.Context(), broken, "b"); !errors.Is(err, errBroken) || errors.Is(err, ErrDamaged) {
		t.Errorf("%v, want %v", err, errBroken)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Import(ctx, bytes.NewReader(b), "b"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

var errBroken = errors.New("broken")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBroken }

// Zeros do not take space, though an archive of ours has none.
func TestImportOfZeros(t *testing.T) {
	f := newForged().manifest(plain).section(State, 5, []byte("state")).section(DiskSection("root"), diskBytes, nil)
	_ = f.w.section(Memory, memoryBytes, func() error {
		_ = f.w.write([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0})
		return f.w.write(make([]byte, memoryBytes))
	})
	got, err := OpenAt(t.TempDir()).Import(t.Context(), bytes.NewReader(f.end()), "")
	if err != nil {
		t.Fatal(err)
	}
	if n := blocks(t, got, Memory); n != 0 {
		t.Errorf("%d zeros take space", n)
	}
}

// A zstd stream that wants more history than ours do is refused before it gets it.
func TestImportOfAWideWindow(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(archiveMagic)
	b.Write([]byte{archiveVersion, 0, 0, 0, flagZstd, 0, 0, 0})
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	z.Write(make([]byte, 65<<20))
	z.Close()
	_, err = OpenAt(t.TempDir()).Import(t.Context(), &b, "")
	if !errors.Is(err, zstd.ErrWindowSizeExceeded) {
		t.Errorf("%v, want %v", err, zstd.ErrWindowSizeExceeded)
	}
}
