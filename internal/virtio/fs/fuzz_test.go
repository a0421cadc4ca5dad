package fs_test

import (
	"encoding/binary"
	"testing"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtiotest"
)

// FuzzDevice has the real server behind it, on an empty directory that cannot be
// written: fsserver's own fuzz target changes things.
func FuzzDevice(f *testing.F) {
	dir := f.TempDir()
	session := [][]byte{
		initRequest,
		fuse(1, 1, "name\x00"), // LOOKUP
		fuse(27, 1, "\x00\x00\x00\x00\x00\x00\x00\x00"),                                                                    // OPENDIR
		fuse(28, 1, "\x01\x00\x00\x00\x00\x00\x00\x00"+"\x00\x00\x00\x00\x00\x00\x00\x00"+"\x80"+string(make([]byte, 23))), // READDIR
		fuse(3, 1, string(make([]byte, 16))),                                                                               // GETATTR
		fuse(2, 1, "\x01\x00\x00\x00\x00\x00\x00\x00"),                                                                     // FORGET
	}
	virtiotest.FuzzDevice(f, func(t *testing.T) virtio.Device { return serve(t, dir) }, session, session[:2])
}

// fuse is a request as linux/fuse.h has it.
func fuse(opcode uint32, node uint64, args string) []byte {
	b := make([]byte, 40, 40+len(args))
	binary.LittleEndian.PutUint32(b, uint32(40+len(args)))
	binary.LittleEndian.PutUint32(b[4:], opcode)
	binary.LittleEndian.PutUint64(b[16:], node)
	return append(b, args...)
}

func FuzzLoadState(f *testing.F) {
	dir := f.TempDir()
	virtiotest.FuzzState(f, func(t testing.TB) virtio.Device { return serve(t, dir) })
}
