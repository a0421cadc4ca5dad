package fsserver

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// BenchmarkRequest measures one request of each kind that matters for speed.
func BenchmarkRequest(b *testing.B) {
	for _, bench := range []struct {
		name  string
		bytes int64
		make  func(c *client) []byte
	}{
		{"getattr", 0, func(c *client) []byte { return c.encode(opGetattr, rootNode, make([]byte, 16)) }},
		{"lookup", 0, func(c *client) []byte { return c.encode(opLookup, rootNode, "file") }},
		{"read4k", 4 << 10, func(c *client) []byte {
			node := c.lookup(rootNode, "file").NodeId
			return c.encode(opRead, node, readArgs{Fh: c.open(node, syscall.O_RDONLY).Fh, Size: 4 << 10})
		}},
		{"read1M", 1 << 20, func(c *client) []byte {
			node := c.lookup(rootNode, "file").NodeId
			return c.encode(opRead, node, readArgs{Fh: c.open(node, syscall.O_RDONLY).Fh, Size: 1 << 20})
		}},
		{"write4k", 4 << 10, func(c *client) []byte {
			node := c.lookup(rootNode, "file").NodeId
			return c.encode(opWrite, node, writeArg{Fh: c.open(node, syscall.O_RDWR).Fh, Size: 4 << 10}, make([]byte, 4<<10))
		}},
		{"write1M", 1 << 20, func(c *client) []byte {
			node := c.lookup(rootNode, "file").NodeId
			return c.encode(opWrite, node, writeArg{Fh: c.open(node, syscall.O_RDWR).Fh, Size: 1 << 20}, make([]byte, 1<<20))
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			dir := b.TempDir()
			if err := os.WriteFile(dir+"/file", make([]byte, 2<<20), 0o644); err != nil {
				b.Fatal(err)
			}
			c := newClient(b, dir, Options{})
			in := [][]byte{bench.make(c)}
			// As a guest lays it out: the header apart, then one page each.
			out := [][]byte{make([]byte, outHeaderSize)}
			for range 1<<20/4096 + 1 {
				out = append(out, make([]byte, 4096))
			}
			b.SetBytes(bench.bytes)
			b.ReportAllocs()
			for b.Loop() {
				if n := c.HandleRequest(in, out); n <= 0 {
					b.Fatal(n)
				}
			}
		})
	}
}

// BenchmarkUnpack does what unpacking an archive of small files comes to.
func BenchmarkUnpack(b *testing.B) {
	dir := b.TempDir()
	c := newClient(b, dir, Options{})
	data := make([]byte, 3000)
	i := 0
	for b.Loop() {
		name := fmt.Sprintf("file%d", i)
		i++
		c.call(opLookup, rootNode, name)
		file := c.create(rootNode, name, syscall.O_WRONLY|syscall.O_EXCL, 0o644)
		c.write(file.NodeId, file.Fh, 0, data)
		c.must(opSetattr, file.NodeId, setattrArgs{Valid: 1 << 5, Mtime: 1})
		c.release(file.NodeId, file.Fh)
		c.call(opForget, file.NodeId, struct{ N uint64 }{1})
	}
}
