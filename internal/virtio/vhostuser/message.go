package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// request is a front-end message type (vhost-user, "Front-end message types").
type request uint32

const (
	reqGetFeatures         request = 1
	reqSetFeatures         request = 2
	reqSetOwner            request = 3
	reqResetOwner          request = 4
	reqSetMemTable         request = 5
	reqSetVringNum         request = 8
	reqSetVringAddr        request = 9
	reqSetVringBase        request = 10
	reqGetVringBase        request = 11
	reqSetVringKick        request = 12
	reqSetVringCall        request = 13
	reqSetVringErr         request = 14
	reqGetProtocolFeatures request = 15
	reqSetProtocolFeatures request = 16
	reqGetQueueNum         request = 17
	reqSetVringEnable      request = 18
	reqGetConfig           request = 24
	reqSetConfig           request = 25
	reqResetDevice         request = 34
)

// featureProtocolFeatures is VHOST_USER_F_PROTOCOL_FEATURES: a virtio feature
// bit that drivers never see and that stands for the negotiation of the
// protocol's own features.
const featureProtocolFeatures uint64 = 1 << 30

// Protocol features (vhost-user, "Protocol features").
const (
	protocolMQ          uint64 = 1 << 0
	protocolReplyAck    uint64 = 1 << 3
	protocolConfig      uint64 = 1 << 9
	protocolResetDevice uint64 = 1 << 13
)

const (
	headerSize = 12 // request, flags, size: u32 each

	flagVersionMask = 0x3
	flagVersion     = 0x1
	flagReply       = 0x4
	flagNeedReply   = 0x8

	maxRegions     = 8  // VHOST_MEMORY_BASELINE_NREGIONS
	regionSize     = 32 // four u64
	memTableHeader = 8  // count, padding
	memTableMax    = memTableHeader + maxRegions*regionSize
	configHeader   = 12                 // offset, size, flags
	configMax      = configHeader + 256 // VHOST_USER_MAX_CONFIG_SIZE

	vringIndexMask = 0xff  // the queue, in a kick, call or error message
	vringNoFD      = 0x100 // bit 8: the message carries no descriptor
)

// shape is what a request must look like; anything else breaks the protocol.
type shape struct {
	name string
	min  int // bytes of payload
	max  int
	fds  int // most descriptors that may come with it
}

var shapes = map[request]shape{
	reqGetFeatures:         {"GET_FEATURES", 0, 0, 0},
	reqSetFeatures:         {"SET_FEATURES", 8, 8, 0},
	reqSetOwner:            {"SET_OWNER", 0, 0, 0},
	reqResetOwner:          {"RESET_OWNER", 0, 0, 0},
	reqSetMemTable:         {"SET_MEM_TABLE", memTableHeader, memTableMax, maxRegions},
	reqSetVringNum:         {"SET_VRING_NUM", 8, 8, 0},
	reqSetVringAddr:        {"SET_VRING_ADDR", 40, 40, 0},
	reqSetVringBase:        {"SET_VRING_BASE", 8, 8, 0},
	reqGetVringBase:        {"GET_VRING_BASE", 8, 8, 0},
	reqSetVringKick:        {"SET_VRING_KICK", 8, 8, 1},
	reqSetVringCall:        {"SET_VRING_CALL", 8, 8, 1},
	reqSetVringErr:         {"SET_VRING_ERR", 8, 8, 1},
	reqGetProtocolFeatures: {"GET_PROTOCOL_FEATURES", 0, 0, 0},
	reqSetProtocolFeatures: {"SET_PROTOCOL_FEATURES", 8, 8, 0},
	reqGetQueueNum:         {"GET_QUEUE_NUM", 0, 0, 0},
	reqSetVringEnable:      {"SET_VRING_ENABLE", 8, 8, 0},
	reqGetConfig:           {"GET_CONFIG", configHeader, configMax, 0},
	reqSetConfig:           {"SET_CONFIG", configHeader, configMax, 0},
	reqResetDevice:         {"RESET_DEVICE", 0, 0, 0},
}

// String is the name that the specification gives the request.
func (r request) String() string {
	if s, ok := shapes[r]; ok {
		return s.name
	}
	return fmt.Sprintf("request %d", uint32(r))
}

// message is one request with what came along. Whoever uses a descriptor takes
// it out of fds; the rest is closed when the request has been handled.
type message struct {
	request
	needReply bool
	payload   []byte // its length is within the request's shape
	fds       fds
}

// header decodes and checks the fixed part; size is the payload's.
func header(b []byte) (m message, size int, err error) {
	m.request = request(le.Uint32(b))
	flags, n := le.Uint32(b[4:]), le.Uint32(b[8:])
	sh, known := shapes[m.request]
	switch {
	case !known:
		return m, 0, errors.New("not supported")
	case flags&flagVersionMask != flagVersion || flags&flagReply != 0:
		return m, 0, fmt.Errorf("flags %#x", flags)
	case n < uint32(sh.min) || n > uint32(sh.max):
		return m, 0, fmt.Errorf("%d bytes of payload", n)
	}
	m.needReply = flags&flagNeedReply != 0
	return m, int(n), nil
}

// reply encodes an answer to r.
func reply(r request, payload []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(payload))
	le.PutUint32(b, uint32(r))
	le.PutUint32(b[4:], flagVersion|flagReply)
	le.PutUint32(b[8:], uint32(len(payload)))
	return append(b, payload...)
}

// u64 reads the payload of a message that is one integer, or the i-th of many.
func (m *message) u64(i int) uint64 { return le.Uint64(m.payload[8*i:]) }

// u32 reads the i-th 32-bit word of the payload.
func (m *message) u32(i int) uint32 { return le.Uint32(m.payload[4*i:]) }

func putU64(v uint64) []byte { return le.AppendUint64(nil, v) }

// le is the byte order: the protocol says the host's, and every machine that
// Holt runs on is little-endian.
var le = binary.LittleEndian
