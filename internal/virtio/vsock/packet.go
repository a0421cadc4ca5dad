package vsock

import "encoding/binary"

// headerLen is the size of struct virtio_vsock_hdr (virtio 1.2, 5.10.6).
const headerLen = 44

// typeStream is the one socket type served here (virtio 1.2, 5.10.6.2).
const typeStream = 1

// Operations (virtio 1.2, 5.10.6).
const (
	opRequest       = 1
	opResponse      = 2
	opRST           = 3
	opShutdown      = 4
	opRW            = 5
	opCreditUpdate  = 6
	opCreditRequest = 7
)

// Flags of opShutdown (virtio 1.2, 5.10.6.5): what the sender of the packet
// will not do any more.
const (
	shutRecv = 1
	shutSend = 2
	shutBoth = shutRecv | shutSend
)

// header is struct virtio_vsock_hdr (virtio 1.2, 5.10.6).
type header struct {
	srcCID, dstCID   uint64
	srcPort, dstPort uint32
	length           uint32 // bytes of payload after the header
	typ, op          uint16
	flags            uint32
	bufAlloc         uint32 // the sender's receive buffer, bytes
	fwdCnt           uint32 // bytes that left the sender's buffer, modulo 2^32
}

func parseHeader(b *[headerLen]byte) header {
	le := binary.LittleEndian
	return header{
		srcCID:   le.Uint64(b[0:]),
		dstCID:   le.Uint64(b[8:]),
		srcPort:  le.Uint32(b[16:]),
		dstPort:  le.Uint32(b[20:]),
		length:   le.Uint32(b[24:]),
		typ:      le.Uint16(b[28:]),
		op:       le.Uint16(b[30:]),
		flags:    le.Uint32(b[32:]),
		bufAlloc: le.Uint32(b[36:]),
		fwdCnt:   le.Uint32(b[40:]),
	}
}

func (h *header) encode(b *[headerLen]byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.srcCID)
	le.PutUint64(b[8:], h.dstCID)
	le.PutUint32(b[16:], h.srcPort)
	le.PutUint32(b[20:], h.dstPort)
	le.PutUint32(b[24:], h.length)
	le.PutUint16(b[28:], h.typ)
	le.PutUint16(b[30:], h.op)
	le.PutUint32(b[32:], h.flags)
	le.PutUint32(b[36:], h.bufAlloc)
	le.PutUint32(b[40:], h.fwdCnt)
}
