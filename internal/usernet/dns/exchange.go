package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	dnsmsg "github.com/miekg/dns"
)

var (
	errTooLong  = errors.New("the answer is too long")
	errMismatch = errors.New("the answer is to another question")
)

// exchange sends req with a new id over a new socket, so that neither the id nor
// the port can be guessed, and returns the answer that has the same id and
// question (RFC 5452, 9).
func (s *Server) exchange(ctx context.Context, network string, server netip.AddrPort, req *request) (*dnsmsg.Msg, error) {
	query := &dnsmsg.Msg{
		MsgHdr: dnsmsg.MsgHdr{
			Id:                dnsmsg.Id(), // from crypto/rand
			RecursionDesired:  true,
			AuthenticatedData: req.msg.AuthenticatedData,
			CheckingDisabled:  req.msg.CheckingDisabled,
		},
		Question: req.msg.Question,
	}
	query.SetEdns0(udpSize, req.opt != nil && req.opt.Do())
	message, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("write the query: %w", err)
	}
	conn, err := s.dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if network == "tcp" {
		return overTCP(conn, query, message)
	}
	return overUDP(conn, query, message)
}

func overUDP(conn net.Conn, query *dnsmsg.Msg, message []byte) (*dnsmsg.Msg, error) {
	if _, err := conn.Write(message); err != nil {
		return nil, err
	}
	buf := make([]byte, maxUDP) // more than the upstream was told
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		m := new(dnsmsg.Msg)
		err = m.Unpack(buf[:n])
		// What is forged is ignored: the true answer may come yet. One that is cut
		// off may end within a record.
		if answers(m, query) && (err == nil || m.Truncated) {
			return m, nil
		}
	}
}

func overTCP(conn net.Conn, query *dnsmsg.Msg, message []byte) (*dnsmsg.Msg, error) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message)))
	if _, err := conn.Write(append(framed, message...)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(length[:])
	if n > maxAnswer {
		return nil, fmt.Errorf("%w: %d bytes", errTooLong, n)
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	m := new(dnsmsg.Msg)
	if err := m.Unpack(buf); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if !answers(m, query) {
		return nil, errMismatch
	}
	return m, nil
}

// answers reports whether m is an answer to query.
func answers(m, query *dnsmsg.Msg) bool {
	if !m.Response || m.Id != query.Id || m.Opcode != dnsmsg.OpcodeQuery || len(m.Question) != 1 {
		return false
	}
	got, want := m.Question[0], query.Question[0]
	return strings.EqualFold(got.Name, want.Name) && got.Qtype == want.Qtype && got.Qclass == want.Qclass
}
