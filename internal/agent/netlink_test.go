package agent

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRequests holds the messages to their bytes, as Linux's headers define them.
func TestRequests(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("the bytes are those of a little-endian machine")
	}
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	networks := []netip.Prefix{prefix("192.0.2.2/24"), prefix("2001:db8::2/64")}
	tests := []struct {
		name string
		r    *netlinkRequest
		want string
	}{
		{"up", upRequest(2, 65520), `
			28000000 1000 0500 07000000 00000000
			00 00 0000 02000000 01000000 01000000
			0800 0400 f0ff0000`},
		{"IPv4 address", addressRequest(2, networks[0]), `
			30000000 1400 0505 07000000 00000000
			02 18 00 00 02000000
			0800 0200 c0000202
			0800 0100 c0000202
			0800 0400 c00002ff`},
		{"IPv4 address of a link of two", addressRequest(2, prefix("192.0.2.2/31")), `
			28000000 1400 0505 07000000 00000000
			02 1f 00 00 02000000
			0800 0200 c0000202
			0800 0100 c0000202`},
		{"IPv6 address", addressRequest(2, networks[1]), `
			40000000 1400 0505 07000000 00000000
			0a 40 02 00 02000000
			1400 0200 20010db8000000000000000000000002
			1400 0100 20010db8000000000000000000000002`},
		{"link-local address", addressRequest(2, prefix("fe80::2/64")), `
			40000000 1400 0505 07000000 00000000
			0a 40 02 fd 02000000
			1400 0200 fe800000000000000000000000000002
			1400 0100 fe800000000000000000000000000002`},
		{"IPv4 gateway", routeRequest(2, addr("192.0.2.1"), networks), `
			2c000000 1800 0505 07000000 00000000
			02 00 00 00 fe 04 00 01 00000000
			0800 0500 c0000201
			0800 0400 02000000`},
		{"IPv6 gateway on the link", routeRequest(2, addr("fe80::1"), networks), `
			38000000 1800 0505 07000000 00000000
			0a 00 00 00 fe 04 00 01 04000000
			1400 0500 fe800000000000000000000000000001
			0800 0400 02000000`},
		{"hardware address", macRequest(2, [6]byte{2, 0, 0, 0, 0, 1}), `
			2c000000 1000 0500 07000000 00000000
			00 00 0000 02000000 00000000 00000000
			0a00 0100 020000000001 0000`},
		{"no IPv4 address", forgetAddressRequest(2, networks[0]), `
			20000000 1500 0500 07000000 00000000
			02 18 00 00 02000000
			0800 0200 c0000202`},
		{"no IPv6 gateway", forgetRouteRequest(2, addr("fe80::1")), `
			38000000 1900 0500 07000000 00000000
			0a 00 00 00 fe 04 00 01 00000000
			1400 0500 fe800000000000000000000000000001
			0800 0400 02000000`},
	}
	for _, tt := range tests {
		want, err := hex.DecodeString(strings.Join(strings.Fields(tt.want), ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := tt.r.message(7); !bytes.Equal(got, want) {
			t.Errorf("%s:\n%x, want\n%x", tt.name, got, want)
		}
	}
}

func TestAttributesAreAligned(t *testing.T) {
	r := newRequest(unix.RTM_GETLINK, 0, nil).attr(3, []byte("eth0\x00")).attr(1, nil).attr(9, []byte("x"))
	b := r.message(1)
	got := map[uint16]string{}
	attributes(b[unix.SizeofNlMsghdr:], func(kind uint16, value []byte) { got[kind] = string(value) })
	if len(b)%4 != 0 || len(got) != 3 || got[3] != "eth0\x00" || got[1] != "" || got[9] != "x" {
		t.Errorf("%x: %v", b, got)
	}
}

// reply is a message of the kernel's.
func reply(kind uint16, seq uint32, body ...byte) []byte {
	return newRequest(kind, 0, body).message(seq)
}

func TestParseReply(t *testing.T) {
	ack, refusal := make([]byte, 20), append(native.AppendUint32(nil, uint32(0xffffffff-16)), make([]byte, 16)...) // -EEXIST
	link := reply(unix.RTM_NEWLINK, 5, 1, 2, 3, 4)
	tests := []struct {
		name string
		b    []byte
		each int
		done bool
		err  error
	}{
		{"acknowledgement", reply(unix.NLMSG_ERROR, 5, ack...), 0, true, nil},
		{"refusal", reply(unix.NLMSG_ERROR, 5, refusal...), 0, true, unix.EEXIST},
		{"message and acknowledgement", slices.Concat(link, reply(unix.NLMSG_ERROR, 5, ack...)), 1, true, nil},
		{"part of a dump", slices.Concat(link, link), 2, false, nil},
		{"end of a dump", slices.Concat(link, reply(unix.NLMSG_DONE, 5, 0, 0, 0, 0)), 1, true, nil},
		{"another's", reply(unix.NLMSG_ERROR, 4, refusal...), 0, false, nil},
		{"cut error", reply(unix.NLMSG_ERROR, 5, 0, 0), 0, false, errReply},
		{"cut message", link[:len(link)-1], 0, false, errReply},
		{"no length", make([]byte, 16), 0, false, errReply},
		{"nothing", nil, 0, false, nil},
	}
	for _, tt := range tests {
		each := 0
		done, err := parseReply(tt.b, 5, func([]byte) { each++ })
		if each != tt.each || done != tt.done || !errors.Is(err, tt.err) {
			t.Errorf("%s: %d messages, %v, %v", tt.name, each, done, err)
		}
	}
}

func FuzzParseReply(f *testing.F) {
	f.Add(append(reply(unix.RTM_NEWLINK, 1, upRequest(2, 1500).b[16:]...), reply(unix.NLMSG_ERROR, 1, 0, 0, 0, 0)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseReply(b, 1, func(body []byte) {
			if l, ok := parseLink(body); ok && len(l.name)+len(l.mac) > len(body) {
				t.Fatalf("%d bytes in %d", len(l.name)+len(l.mac), len(body))
			}
		})
	})
}
