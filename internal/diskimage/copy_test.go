package diskimage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// target makes a file to copy to.
func target(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// memfd makes a file on another file system than image's.
func memfd(t testing.TB) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("copy", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { f.Close() })
	return f
}

// content reads a whole file, whose size is n.
func content(t testing.TB, f *os.File, n int64) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, n+1))
	if err != nil || int64(len(b)) != n {
		t.Fatalf("read %d bytes, want %d: %v", len(b), n, err)
	}
	return b
}

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32()) | 1
	}
	return b
}

// TestCopy copies an image with holes of all kinds, also over what was there before.
func TestCopy(t *testing.T) {
	const size = 8<<20 + 512
	f := opened(t, size)
	for _, x := range []struct{ off, n int }{{0, 512}, {1 << 20, 1<<20 + 4096}, {3<<20 + 512, 100 << 10}, {size - 512, 512}} {
		if err := f.WriteAtv([][]byte{random(x.n)}, int64(x.off)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.WriteAtv([][]byte{make([]byte, 1<<20)}, 5<<20); err != nil { // zeros and no hole
		t.Fatal(err)
	}
	want, _ := os.ReadFile(f.path)
	for name, dst := range map[string]*os.File{"same file system": target(t), "another": memfd(t)} {
		if _, err := dst.Write(random(size + 10000)); err != nil {
			t.Fatal(err)
		}
		if err := f.CopyTo(t.Context(), dst); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(content(t, dst, size), want) {
			t.Errorf("%s: the copy is not the same", name)
		}
		if n := blocks(t, plain(dst, size)) * 512; n > 4<<20 {
			t.Errorf("%s: the copy takes %d bytes", name, n)
		}
	}
}

// TestCopyByHand: where the kernel cannot copy, blocks of zeros become holes.
func TestCopyByHand(t *testing.T) {
	const size = 1<<20 + 1536
	f := opened(t, size)
	want := make([]byte, size)
	copy(want[8192:], random(4096))
	copy(want[16384+100:], random(50))
	copy(want[size-512:], random(512))
	if err := f.WriteAtv([][]byte{want}, 0); err != nil {
		t.Fatal(err)
	}
	dst := memfd(t)
	c := copier{ctx: t.Context(), dst: plain(dst, size)}
	if err := dst.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < size; off += readPiece {
		if err := c.readAndWrite(f, int64(off), min(readPiece, size-off)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(content(t, dst, size), want) {
		t.Error("the copy is not the same")
	}
	if n := blocks(t, c.dst) * 512; n != 3*4096 {
		t.Errorf("the copy takes %d bytes", n)
	}
}

func TestCopyFails(t *testing.T) {
	f := opened(t, 1<<20)
	if err := f.WriteAtv([][]byte{random(1 << 20)}, 0); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	readOnly, err := os.Open(image(t, 512))
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	for _, c := range []struct {
		name string
		ctx  context.Context
		dst  *os.File
		want error
		says string
	}{
		{"ended", ended, memfd(t), context.Canceled, "copy disk " + f.path},
		{"not writable", t.Context(), readOnly, unix.EINVAL, readOnly.Name()},
		{"full", t.Context(), sealed(t), unix.EPERM, "memfd"},
	} {
		err := f.CopyTo(c.ctx, c.dst)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := os.Truncate(f.path, 4096); err != nil {
		t.Fatal(err)
	}
	if err := f.CopyTo(t.Context(), memfd(t)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an image that became smaller: %v", err)
	}
}

// sealed is a file that gets its size and no content.
func sealed(t testing.TB) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("copy", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { f.Close() })
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
		t.Fatal(err)
	}
	return f
}

func BenchmarkCopy(b *testing.B) {
	const size = 256 << 20
	f := opened(b, size)
	data := random(1 << 20)
	for off := int64(0); off < size; off += 4 << 20 { // a quarter
		if err := f.WriteAtv([][]byte{data}, off); err != nil {
			b.Fatal(err)
		}
	}
	dst := target(b)
	b.SetBytes(size / 4)
	for b.Loop() {
		if err := f.CopyTo(b.Context(), dst); err != nil {
			b.Fatal(err)
		}
	}
}
