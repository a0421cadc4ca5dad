package fsserver

import (
	"bytes"
	"encoding/binary"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	inHeaderSize  = 40 // struct fuse_in_header
	outHeaderSize = 16 // struct fuse_out_header
	writeArgs     = 40 // struct fuse_write_in

	// maxRequest bounds a request without WRITE's data, in bytes. The longest
	// in use is SETXATTR with a 64 KiB value.
	maxRequest = 128 << 10

	smallRequest = 1 << 10
)

// request is one FUSE request. All of it but WRITE's data was copied out of the
// guest's memory once and is not read from there again.
type request struct {
	opcode uint32
	unique uint64
	op     operation // zero when the opcode is not served
	copied []byte
	parts  [][]byte // copied, then WRITE's data in guest memory

	small    [smallRequest]byte
	fewParts [8][]byte
}

// Requests are reused: most are of a few hundred bytes, thousands a second.
var requests = sync.Pool{New: func() any { return new(request) }}

func (r *request) release() {
	clear(r.parts) // the guest's memory may be unmapped later
	r.op, r.copied, r.parts = operation{}, nil, nil
	requests.Put(r)
}

// readRequest copies a request and checks its shape. It returns nil when there
// is not even a header, and otherwise an errno to refuse the request with, or 0.
func readRequest(in [][]byte) (*request, syscall.Errno) {
	total := iovLen(in)
	if total < inHeaderSize {
		return nil, syscall.EINVAL
	}
	r := requests.Get().(*request)
	r.copied = r.small[:copyFrom(r.small[:min(total, inHeaderSize+writeArgs)], in, 0)]
	r.parts = append(r.fewParts[:0], r.copied)
	r.opcode = binary.NativeEndian.Uint32(r.copied[4:])
	r.unique = binary.NativeEndian.Uint64(r.copied[8:])
	if uint64(binary.NativeEndian.Uint32(r.copied[0:])) != uint64(total) {
		return r, syscall.EINVAL
	}
	var served bool
	if r.op, served = operations[r.opcode]; !served {
		return r, syscall.ENOSYS
	}
	if total < inHeaderSize+r.op.args {
		return r, syscall.EINVAL
	}
	r.renumber()
	if r.opcode == opWrite {
		return r, r.takeData(in, total)
	}
	if total > maxRequest {
		return r, syscall.E2BIG
	}
	have := len(r.copied)
	if total <= smallRequest {
		r.copied = r.small[:total]
	} else {
		r.copied = append(make([]byte, 0, total), r.copied...)[:total]
	}
	copyFrom(r.copied[have:], in, have)
	r.parts[0] = r.copied
	return r, r.check()
}

// renumber keeps the request clear of a file that the protocol library makes up
// for processes that mount their own file system: a fixed name in the root, and
// node id ^0.
func (r *request) renumber() {
	id := r.copied[16:24]
	switch binary.NativeEndian.Uint64(id) {
	case fuse.FUSE_ROOT_ID:
		binary.NativeEndian.PutUint64(id, rootAlias)
	case ^uint64(0):
		binary.NativeEndian.PutUint64(id, 0)
	}
}

// takeData leaves WRITE's data where it is, for the system call to read.
func (r *request) takeData(in [][]byte, total int) syscall.Errno {
	skip := inHeaderSize + writeArgs
	if size := binary.NativeEndian.Uint32(r.copied[inHeaderSize+16:]); size > maxWrite || int(size) != total-skip {
		return syscall.EINVAL
	}
	for _, part := range in {
		if skip >= len(part) {
			skip -= len(part)
			continue
		}
		r.parts = append(r.parts, part[skip:])
		skip = 0
	}
	return r.checkExtensions()
}

// check refuses what the protocol library would take on trust or complain about
// where nobody limits it.
func (r *request) check() syscall.Errno {
	args, rest := r.copied[inHeaderSize:inHeaderSize+r.op.args], r.copied[inHeaderSize+r.op.args:]
	for range r.op.names {
		end := bytes.IndexByte(rest, 0)
		if end < 0 {
			return syscall.EINVAL
		}
		rest = rest[end+1:]
	}
	if len(rest) > 0 && !r.op.tail {
		return syscall.EINVAL
	}
	if r.op.maxReply > 0 && binary.NativeEndian.Uint32(args[r.op.replyAt:]) > r.op.maxReply {
		return syscall.EINVAL
	}
	if r.opcode == opInit && (binary.NativeEndian.Uint32(args) != 7 || binary.NativeEndian.Uint32(args[4:]) < minMinor) {
		return syscall.EPROTO
	}
	return r.checkExtensions()
}

// minMinor is the oldest FUSE 7 minor version that is spoken: the first with
// 64-byte attributes and MAX_PAGES, Linux 4.20. Virtio-fs came with 7.31.
const minMinor = 28

// checkExtensions refuses request extensions: none was negotiated.
func (r *request) checkExtensions() syscall.Errno {
	if binary.NativeEndian.Uint16(r.copied[36:]) != 0 {
		return syscall.EINVAL
	}
	return 0
}

// replyError writes a reply that is only an error, and returns its size.
func (r *request) replyError(out [][]byte, errno syscall.Errno) int {
	if r.op.noReply || iovLen(out) < outHeaderSize {
		return 0
	}
	var header [outHeaderSize]byte // struct fuse_out_header
	binary.NativeEndian.PutUint32(header[0:], outHeaderSize)
	binary.NativeEndian.PutUint32(header[4:], uint32(-int32(errno)))
	binary.NativeEndian.PutUint64(header[8:], r.unique)
	return copyTo(out, header[:])
}

func iovLen(iov [][]byte) int {
	n := 0
	for _, part := range iov {
		n += len(part)
	}
	return n
}

// copyFrom fills dst with what follows the first skip bytes of iov, and returns
// the number of bytes copied.
func copyFrom(dst []byte, iov [][]byte, skip int) int {
	n := 0
	for _, part := range iov {
		if n == len(dst) {
			break
		}
		if skip >= len(part) {
			skip -= len(part)
			continue
		}
		n += copy(dst[n:], part[skip:])
		skip = 0
	}
	return n
}

// copyTo fills iov from its beginning with src, and returns the number of bytes
// copied.
func copyTo(iov [][]byte, src []byte) int {
	n := 0
	for _, part := range iov {
		n += copy(part, src[n:])
	}
	return n
}
