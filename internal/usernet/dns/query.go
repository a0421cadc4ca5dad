package dns

import (
	"encoding/binary"

	dnsmsg "github.com/miekg/dns"
)

const (
	headerSize = 12
	// maxUDP bounds messages over UDP, and queries over TCP too: one name and a few
	// options.
	maxUDP = 4096
	// maxAnswer bounds an answer, both of an upstream and to the guest over TCP.
	maxAnswer = 16 << 10
	// udpSize is the size of a UDP message that never needs fragments.
	udpSize = 1232
)

// request is a query that has one question.
type request struct {
	msg  dnsmsg.Msg
	name string      // of the question, in lower case and without the dot at the end
	opt  *dnsmsg.OPT // nil without EDNS
	size int         // of the greatest answer over UDP, in bytes
	// rcode is not RcodeSuccess if the query is understood but refused.
	rcode int
}

// parseQuery returns the query in b, or else what it is answered with, which is
// nil for what must not be answered.
func parseQuery(b []byte) (*request, []byte) {
	if len(b) < headerSize || b[2]&0x80 != 0 {
		return nil, nil // an answer to an answer might never end
	}
	if opcode := int(b[2] >> 3); opcode != dnsmsg.OpcodeQuery {
		return nil, headerOnly(b, dnsmsg.RcodeNotImplemented)
	}
	questions, answers := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint32(b[6:])
	additional := binary.BigEndian.Uint16(b[10:])
	req := new(request)
	if len(b) > maxUDP || questions != 1 || answers != 0 || additional > 1 || req.msg.Unpack(b) != nil {
		return nil, headerOnly(b, dnsmsg.RcodeFormatError)
	}
	// An additional record may be missing all the same; it can only be options.
	req.opt = req.msg.IsEdns0()
	if len(req.msg.Question) != 1 || req.opt == nil && additional > 0 {
		return nil, headerOnly(b, dnsmsg.RcodeFormatError)
	}
	q := req.msg.Question[0]
	req.name = plain(q.Name)
	req.size = dnsmsg.MinMsgSize
	if req.opt != nil {
		req.size = min(max(int(req.opt.UDPSize()), req.size), maxUDP)
	}
	switch {
	case req.opt != nil && req.opt.Version() != 0:
		req.rcode = dnsmsg.RcodeBadVers
	case q.Qclass != dnsmsg.ClassINET:
		req.rcode = dnsmsg.RcodeRefused
	case q.Qtype == dnsmsg.TypeNone, q.Qtype == dnsmsg.TypeOPT, 128 <= q.Qtype && q.Qtype <= 255:
		// No record has such a type (RFC 6895, 3.1): transfers, "any" and the like.
		req.rcode = dnsmsg.RcodeNotImplemented
	}
	return req, nil
}

// headerOnly answers a query that has a header at least.
func headerOnly(query []byte, rcode byte) []byte {
	b := make([]byte, headerSize)
	copy(b, query[:3])
	b[2] = b[2]&0x79 | 0x80 // a response, with the query's opcode and RD
	b[3] = rcode
	return b
}

// pack makes m the answer to r, of size bytes at most.
func (r *request) pack(m *dnsmsg.Msg, size int) []byte {
	rcode := m.Rcode
	m.SetReply(&r.msg)
	m.Rcode = rcode
	m.RecursionAvailable = true
	m.Compress = true
	if r.opt != nil {
		m.SetEdns0(udpSize, r.opt.Do())
	}
	m.Truncate(size)
	b, err := m.Pack()
	if err != nil || len(b) > size {
		m.Answer, m.Ns = nil, nil
		m.Rcode = dnsmsg.RcodeServerFailure
		if b, err = m.Pack(); err != nil {
			return nil
		}
	}
	return b
}
