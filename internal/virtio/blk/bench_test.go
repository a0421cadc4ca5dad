package blk_test

import (
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"github.com/holtvm/holt/internal/virtio/blk"
	"github.com/holtvm/holt/internal/virtiotest"
)

const benchSize = 256 << 20

// pieces are the sizes and orders that are measured.
var pieces = []struct {
	name   string
	size   int
	random bool
}{{"sequential 1 MiB", 1 << 20, false}, {"random 4 KiB", 4096, true}}

// BenchmarkDevice does requests through the rings, one at a time.
func BenchmarkDevice(b *testing.B) {
	for _, write := range []bool{false, true} {
		for _, p := range pieces {
			b.Run(benchName(p.name, write), func(b *testing.B) {
				disk := openImage(b, imageFile(b, make([]byte, benchSize)), false)
				d := virtiotest.Start(b, newDevice(b, disk, blk.Options{}), virtiotest.Options{Features: all})
				r := newReuse(d.Queue(0), p.size, write)
				b.SetBytes(int64(p.size))
				b.ReportAllocs()
				at := 0
				for b.Loop() {
					at = next(at, p.size, p.random)
					r.do(uint64(at) / 512)
				}
			})
		}
	}
}

// BenchmarkPlainFile is what there is to reach: pread and pwrite.
func BenchmarkPlainFile(b *testing.B) {
	for _, write := range []bool{false, true} {
		for _, p := range pieces {
			b.Run(benchName(p.name, write), func(b *testing.B) {
				f, err := os.OpenFile(imageFile(b, make([]byte, benchSize)), os.O_RDWR, 0)
				if err != nil {
					b.Fatal(err)
				}
				defer f.Close()
				do := f.ReadAt
				if write {
					do = f.WriteAt
				}
				buf := make([]byte, p.size)
				b.SetBytes(int64(p.size))
				b.ReportAllocs()
				at := 0
				for b.Loop() {
					at = next(at, p.size, p.random)
					if _, err := do(buf, int64(at)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func benchName(piece string, write bool) string {
	if write {
		return "write " + piece
	}
	return "read " + piece
}

func next(at, size int, random bool) int {
	if random {
		return rand.IntN(benchSize/size) * size
	}
	return (at + size) % benchSize
}

// reuse is one request that is offered again and again. It works on the rings' bytes,
// because the methods of Ring cost more than the request.
type reuse struct {
	q                 *virtiotest.Ring
	header, status    []byte
	availIdx, usedIdx []byte
}

// newReuse makes a request for size bytes, in single pages.
func newReuse(q *virtiotest.Ring, size int, write bool) *reuse {
	h := header(typeIn, 0)
	if write {
		h = header(typeOut, 0)
	}
	first, end := q.Readable(h), q.Writable(1)
	bufs := []virtiotest.Buf{first}
	for range size / 4096 {
		bufs = append(bufs, virtiotest.Buf{Addr: q.Writable(4096).Addr, Len: 4096, Write: !write})
	}
	head := q.Indirect(append(bufs, end)...)
	for i := range uint64(q.Size) {
		le.PutUint16(q.Bytes(q.AvailAddr+4+2*i, 2), head)
	}
	return &reuse{
		q: q, header: q.Bytes(first.Addr, 16), status: q.Bytes(end.Addr, 1),
		availIdx: q.Bytes(q.AvailAddr+2, 2), usedIdx: q.Bytes(q.UsedAddr+2, 2),
	}
}

// do does the request and returns its status. It allocates nothing.
func (r *reuse) do(sector uint64) byte {
	le.PutUint64(r.header[8:], sector)
	want := le.Uint16(r.availIdx) + 1
	le.PutUint16(r.availIdx, want)
	r.q.Kick()
	for le.Uint16(r.usedIdx) != want {
		runtime.Gosched() // to whoever works on it
	}
	return r.status[0]
}

// TestNoAllocations: neither what is served at once nor what has to wait costs the
// garbage collector anything.
func TestNoAllocations(t *testing.T) {
	file := openImage(t, imageFile(t, make([]byte, 2<<20)), false)
	for _, c := range []struct {
		name  string
		disk  blk.Disk
		write bool
	}{{"read", file, false}, {"write", file, true}, {"read on a goroutine", waits{file}, false}, {"write on a goroutine", waits{file}, true}} {
		t.Run(c.name, func(t *testing.T) {
			d := virtiotest.Start(t, newDevice(t, c.disk, blk.Options{}), virtiotest.Options{Features: all})
			r := newReuse(d.Queue(0), 1<<20, c.write)
			for range 200 { // every request object has its room by then
				r.do(0)
			}
			if n := testing.AllocsPerRun(200, func() {
				if status := r.do(8); status != ok {
					t.Fatalf("status %d", status)
				}
			}); n >= 1 {
				t.Errorf("%v allocations per request", n)
			}
		})
	}
}

// waits is a disk on which everything is expected to wait.
type waits struct{ blk.Disk }

func (waits) TryRead([][]byte, int64) (bool, error)  { return false, nil }
func (waits) TryWrite([][]byte, int64) (bool, error) { return false, nil }
func (waits) TryFlush() (bool, error)                { return false, nil }
