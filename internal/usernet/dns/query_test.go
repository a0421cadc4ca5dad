package dns

import (
	"bytes"
	"context"
	"net/netip"
	"testing"

	dnsmsg "github.com/miekg/dns"
)

func s1(u *upstream) []netip.AddrPort { return []netip.AddrPort{u.addr} }

func TestMalformedQueries(t *testing.T) {
	pack := func(change func(m *dnsmsg.Msg)) []byte {
		m := newQuery(t, "host.holt.internal", dnsmsg.TypeA)
		m.Id = 0x1234
		change(m)
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := pack(func(*dnsmsg.Msg) {})
	edit := func(at int, value byte) []byte {
		b := bytes.Clone(good)
		b[at] = value
		return b
	}
	record := parseRecords(t, "x. 1 IN A 1.2.3.4")
	const silence = -1
	tests := map[string]struct {
		query []byte
		rcode int
	}{
		"good":               {good, dnsmsg.RcodeSuccess},
		"empty":              {nil, silence},
		"short header":       {good[:11], silence},
		"header only":        {good[:12], dnsmsg.RcodeFormatError},
		"cut in the name":    {good[:20], dnsmsg.RcodeFormatError},
		"an answer":          {pack(func(m *dnsmsg.Msg) { m.Response = true }), silence},
		"status":             {pack(func(m *dnsmsg.Msg) { m.Opcode = dnsmsg.OpcodeStatus }), dnsmsg.RcodeNotImplemented},
		"update":             {pack(func(m *dnsmsg.Msg) { m.Opcode = dnsmsg.OpcodeUpdate }), dnsmsg.RcodeNotImplemented},
		"opcode 15":          {edit(2, 15<<3), dnsmsg.RcodeNotImplemented},
		"no question":        {pack(func(m *dnsmsg.Msg) { m.Question = nil }), dnsmsg.RcodeFormatError},
		"two questions":      {pack(func(m *dnsmsg.Msg) { m.Question = append(m.Question, m.Question[0]) }), dnsmsg.RcodeFormatError},
		"65535 questions":    {append(edit(4, 0xff)[:5], append([]byte{0xff}, good[6:]...)...), dnsmsg.RcodeFormatError},
		"with an answer":     {pack(func(m *dnsmsg.Msg) { m.Answer = record }), dnsmsg.RcodeFormatError},
		"with an authority":  {pack(func(m *dnsmsg.Msg) { m.Ns = record }), dnsmsg.RcodeFormatError},
		"with an additional": {pack(func(m *dnsmsg.Msg) { m.Extra = record }), dnsmsg.RcodeFormatError},
		"additional missing": {edit(11, 1), dnsmsg.RcodeFormatError},
		"two options":        {pack(func(m *dnsmsg.Msg) { m.SetEdns0(512, false).SetEdns0(512, false) }), dnsmsg.RcodeFormatError},
		"name points to itself": {append(bytes.Clone(good[:12]), 0xc0, 12, 0, 1, 0, 1),
			dnsmsg.RcodeFormatError},
		"too long":     {append(bytes.Clone(good), make([]byte, 4096)...), dnsmsg.RcodeFormatError},
		"chaos":        {pack(func(m *dnsmsg.Msg) { m.Question[0].Qclass = dnsmsg.ClassCHAOS }), dnsmsg.RcodeRefused},
		"any type":     {pack(func(m *dnsmsg.Msg) { m.Question[0].Qtype = dnsmsg.TypeANY }), dnsmsg.RcodeNotImplemented},
		"transfer":     {pack(func(m *dnsmsg.Msg) { m.Question[0].Qtype = dnsmsg.TypeAXFR }), dnsmsg.RcodeNotImplemented},
		"type 0":       {pack(func(m *dnsmsg.Msg) { m.Question[0].Qtype = 0 }), dnsmsg.RcodeNotImplemented},
		"EDNS 1":       {pack(func(m *dnsmsg.Msg) { m.SetEdns0(512, false).IsEdns0().SetVersion(1) }), dnsmsg.RcodeBadVers},
		"with EDNS":    {pack(func(m *dnsmsg.Msg) { m.SetEdns0(0, true) }), dnsmsg.RcodeSuccess},
		"no RD, is CD": {pack(func(m *dnsmsg.Msg) { m.RecursionDesired, m.CheckingDisabled = false, true }), dnsmsg.RcodeSuccess},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := bytes.Clone(test.query)
			b := newServer(t, nil).Handle(context.Background(), test.query, false)
			if !bytes.Equal(before, test.query) {
				t.Error("the query is changed")
			}
			if test.rcode == silence {
				if b != nil {
					t.Errorf("there is an answer: %x", b)
				}
				return
			}
			m := new(dnsmsg.Msg)
			if err := m.Unpack(b); err != nil {
				t.Fatalf("%x: %v", b, err)
			}
			if m.Rcode != test.rcode || !m.Response || m.Id != 0x1234 || m.Opcode != int(test.query[2]>>3&15) {
				t.Errorf("the answer is\n%v", m)
			}
		})
	}
}

func TestEDNSIsMirrored(t *testing.T) {
	s := newServer(t, nil)
	if m := ask(t, s, "localhost", dnsmsg.TypeA); m.IsEdns0() != nil {
		t.Error("options that were not asked for")
	}
	for _, do := range []bool{false, true} {
		m := handle(t, s, newQuery(t, "localhost", dnsmsg.TypeA).SetEdns0(4096, do), false)
		if opt := m.IsEdns0(); opt == nil || opt.UDPSize() != 1232 || opt.Do() != do {
			t.Errorf("the options are %v", opt)
		}
	}
}
