package holt

import (
	"net/netip"
	"testing"
)

func TestParsePortPair(t *testing.T) {
	v4, v6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for _, test := range []struct {
		in   string
		want PortPair
		text string
	}{
		{"8080:80", PortPair{Host: 8080, Guest: 80}, "8080:80"},
		{"3000", PortPair{Host: 3000, Guest: 3000}, "3000:3000"},
		{"3000/udp", PortPair{Host: 3000, Guest: 3000, Protocol: UDP}, "3000:3000/udp"},
		{"8080:80/tcp", PortPair{Host: 8080, Guest: 80}, "8080:80"},
		{"1:65535/udp", PortPair{Host: 1, Guest: 65535, Protocol: UDP}, "1:65535/udp"},
		{"127.0.0.1:8080:80", PortPair{v4, 8080, 80, TCP}, "127.0.0.1:8080:80"},
		{"[::1]:8080:80/udp", PortPair{v6, 8080, 80, UDP}, "[::1]:8080:80/udp"},
		{"[::ffff:127.0.0.1]:80:80", PortPair{v4, 80, 80, TCP}, "127.0.0.1:80:80"},
		{"0.0.0.0:80:80", PortPair{netip.IPv4Unspecified(), 80, 80, TCP}, "0.0.0.0:80:80"},
		{"0080:80", PortPair{Host: 80, Guest: 80}, "80:80"},
	} {
		got, err := ParsePortPair(test.in)
		if err != nil || got != test.want || got.String() != test.text {
			t.Errorf("ParsePortPair(%q) = %+v (%v), %v; want %+v (%s)", test.in, got, got, err, test.want, test.text)
		}
	}
}

func TestParsePortPairRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                     `host port "" must be a number from 1 to 65535`,
		"0":                    `host port "0" must be a number from 1 to 65535`,
		"70000:80":             `host port "70000" must be a number from 1 to 65535`,
		"80:0":                 `guest port "0" must be a number from 1 to 65535`,
		"80:65536":             `guest port "65536" must be a number from 1 to 65535`,
		"80:":                  `guest port "" must be`,
		":80":                  `host port "" must be`,
		"-1:80":                `host port "-1" must be`,
		"+1:80":                `host port "+1" must be`,
		"http:80":              `host port "http" must be`,
		"8000-8010:80":         `host port "8000-8010" must be`,
		" 80:80":               `host port " 80" must be`,
		"80:80/sctp":           `protocol "sctp" must be tcp or udp`,
		"80:80/":               `protocol "" must be tcp or udp`,
		"80:80/TCP":            `protocol "TCP" must be tcp or udp`,
		"80:80/tcp/udp":        `protocol "tcp/udp" must be tcp or udp`,
		"127.0.0.1:80":         `host port "127.0.0.1" must be`,
		"1:2:3":                `host address "1" must be an IPv4 address`,
		"localhost:80:80":      `host address "localhost" must be an IPv4 address`,
		":80:80":               `host address "" must be an IPv4 address`,
		"::1:80:80":            "an IPv6 address is written in brackets",
		"[::1]:80":             "must be [ip:]host:guest[/tcp|/udp]",
		"[::1]80:80":           "must be [ip:]host:guest[/tcp|/udp]",
		"[::1:80:80":           "must be [ip:]host:guest[/tcp|/udp]",
		"[127.0.0.1]:80:80":    `host address "127.0.0.1" must be`,
		"[]:80:80":             `host address "" must be`,
		"[fe80::1%eth0]:80:80": "must not have a zone",
		"[::1]:80:80:80":       `guest port "80:80" must be`,
	} {
		refuses(t, "port pair", in, want, func() error { _, err := ParsePortPair(in); return err })
	}
}

func TestPortPairText(t *testing.T) {
	marshalsBack(t, PortPair{netip.MustParseAddr("::1"), 8080, 80, UDP}, new(PortPair))
	marshalsBack(t, PortPair{Host: 8080, Guest: 80}, new(PortPair))
	for _, bad := range []PortPair{{}, {Host: 1}, {Guest: 1}, {Host: 1, Guest: 1, Protocol: 2}} {
		if text, err := bad.MarshalText(); err == nil {
			t.Errorf("MarshalText of %+v = %q, want an error", bad, text)
		}
	}
}

func TestPortPairOverlaps(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"80:1", "80:2", true},
		{"80:1", "81:1", false},
		{"80:1/tcp", "80:1/udp", false},
		{"127.0.0.1:80:1", "127.0.0.1:80:2", true},
		{"127.0.0.1:80:1", "127.0.0.2:80:1", false},
		{"127.0.0.1:80:1", "80:1", true},
		{"127.0.0.1:80:1", "0.0.0.0:80:1", true},
		{"127.0.0.1:80:1", "[::]:80:1", true},
		{"[::1]:80:1", "0.0.0.0:80:1", true},
		{"127.0.0.1:80:1", "[::1]:80:1", false},
		{"127.0.0.1:80:1", "[::ffff:127.0.0.1]:80:1", true},
	} {
		a, errA := ParsePortPair(test.a)
		b, errB := ParsePortPair(test.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if a.overlaps(b) != test.want || b.overlaps(a) != test.want {
			t.Errorf("%q and %q: overlap %v, and %v the other way; want %v", test.a, test.b, a.overlaps(b), b.overlaps(a), test.want)
		}
	}
	// A literal may hold the IPv4 address in its IPv6 form.
	a := PortPair{HostIP: netip.MustParseAddr("127.0.0.1"), Host: 80, Guest: 1}
	b := PortPair{HostIP: netip.MustParseAddr("::ffff:127.0.0.1"), Host: 80, Guest: 2}
	if !a.overlaps(b) || !b.overlaps(a) {
		t.Errorf("%v and %v do not overlap", a, b)
	}
}
