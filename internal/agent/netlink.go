package agent

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// native is the byte order of netlink: the machine's own.
var native = binary.NativeEndian

// netlinkRequest is a message to the kernel (netlink(7)): a header, a body that
// depends on the type, and attributes.
type netlinkRequest struct{ b []byte }

// newRequest begins a message with flags besides those that all have.
func newRequest(kind, flags uint16, body []byte) *netlinkRequest {
	r := &netlinkRequest{make([]byte, 4, 128)} // the length is filled in by message
	r.b = native.AppendUint16(r.b, kind)
	r.b = native.AppendUint16(r.b, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	r.b = append(r.b, make([]byte, 8)...) // sequence number and port
	r.b = append(r.b, body...)
	return r
}

// attr appends an attribute. All are aligned to 4 bytes.
func (r *netlinkRequest) attr(kind uint16, value []byte) *netlinkRequest {
	r.b = native.AppendUint16(r.b, uint16(unix.SizeofRtAttr+len(value)))
	r.b = native.AppendUint16(r.b, kind)
	r.b = append(r.b, value...)
	for len(r.b)%unix.NLMSG_ALIGNTO != 0 {
		r.b = append(r.b, 0)
	}
	return r
}

func (r *netlinkRequest) attrUint32(kind uint16, value uint32) *netlinkRequest {
	return r.attr(kind, native.AppendUint32(nil, value))
}

// message is the finished message.
func (r *netlinkRequest) message(seq uint32) []byte {
	native.PutUint32(r.b, uint32(len(r.b)))
	native.PutUint32(r.b[8:], seq)
	return r.b
}

// rtnetlink is a socket by which the kernel's network is configured
// (rtnetlink(7)).
type rtnetlink struct {
	fd  int
	seq uint32
	buf []byte
}

func openNetlink() (*rtnetlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("make netlink socket: %w", err)
	}
	return &rtnetlink{fd: fd, buf: make([]byte, 32<<10)}, nil // what Linux's dumps fill at most
}

func (n *rtnetlink) Close() error { return unix.Close(n.fd) }

// do sends r, calls each, unless it is nil, with the messages that answer it, and
// returns the kernel's verdict. What each gets is valid during the call.
func (n *rtnetlink) do(r *netlinkRequest, each func(body []byte)) error {
	n.seq++
	if err := unix.Sendto(n.fd, r.message(n.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		size, from, err := unix.Recvfrom(n.fd, n.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
			continue // not from the kernel
		}
		if done, err := parseReply(n.buf[:size], n.seq, each); done || err != nil {
			return err
		}
	}
}

// errReply says that a reply of the kernel's is not one.
var errReply = errors.New("malformed netlink message")

// parseReply calls each with the messages of b that belong to the request seq. It is
// done when b has the last of them, whose verdict it returns.
func parseReply(b []byte, seq uint32, each func(body []byte)) (done bool, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		size, kind := native.Uint32(b), native.Uint16(b[4:])
		if size < unix.SizeofNlMsghdr || uint64(size) > uint64(len(b)) {
			return false, errReply
		}
		body, mine := b[unix.SizeofNlMsghdr:size], native.Uint32(b[8:]) == seq
		b = b[min(align4(int(size)), len(b)):]
		switch {
		case !mine:
		case kind == unix.NLMSG_DONE:
			return true, nil
		case kind == unix.NLMSG_ERROR:
			if len(body) < 4 {
				return false, errReply
			}
			// The negative of an error number, or 0 for success.
			if status := int32(native.Uint32(body)); status != 0 {
				return true, unix.Errno(-status)
			}
			return true, nil
		case each != nil:
			each(body)
		}
	}
	return false, nil
}

// attributes calls each with the attributes in b, up to the first that is broken.
func attributes(b []byte, each func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(native.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		each(native.Uint16(b[2:]), b[unix.SizeofRtAttr:size])
		b = b[min(align4(size), len(b)):]
	}
}

func align4(n int) int { return (n + 3) &^ 3 }
