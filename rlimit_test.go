package holt

import (
	"strconv"
	"testing"
)

func TestParseRlimit(t *testing.T) {
	for _, test := range []struct {
		in   string
		want Rlimit
		text string
	}{
		{"RLIMIT_NOFILE=1024:2048", Rlimit{RlimitNoFile, 1024, 2048}, "RLIMIT_NOFILE=1024:2048"},
		{"RLIMIT_NOFILE=1024", Rlimit{RlimitNoFile, 1024, 1024}, "RLIMIT_NOFILE=1024:1024"},
		{"7=1:2", Rlimit{RlimitNoFile, 1, 2}, "RLIMIT_NOFILE=1:2"},
		{"0=1", Rlimit{RlimitCPU, 1, 1}, "RLIMIT_CPU=1:1"},
		{"15=1", Rlimit{RlimitRTTime, 1, 1}, "RLIMIT_RTTIME=1:1"},
		{"RLIMIT_CORE=0:unlimited", Rlimit{RlimitCore, 0, RlimInfinity}, "RLIMIT_CORE=0:unlimited"},
		{"RLIMIT_AS=infinity", Rlimit{RlimitAS, RlimInfinity, RlimInfinity}, "RLIMIT_AS=unlimited:unlimited"},
		{"RLIMIT_AS=18446744073709551615", Rlimit{RlimitAS, RlimInfinity, RlimInfinity}, "RLIMIT_AS=unlimited:unlimited"},
		{"RLIMIT_AS=18446744073709551614", Rlimit{RlimitAS, RlimInfinity - 1, RlimInfinity - 1}, "RLIMIT_AS=18446744073709551614:18446744073709551614"},
	} {
		got, err := ParseRlimit(test.in)
		if err != nil || got != test.want || got.String() != test.text {
			t.Errorf("ParseRlimit(%q) = %+v (%v), %v; want %+v (%s)", test.in, got, got, err, test.want, test.text)
		}
	}
}

// The numbers are Linux's ABI, so the test has them written out once more.
func TestRlimitNumbers(t *testing.T) {
	for i, name := range []string{
		"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
		"MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
	} {
		byName, err := ParseRlimit("RLIMIT_" + name + "=5")
		if err != nil || int(byName.Resource) != i {
			t.Errorf("RLIMIT_%s is number %d, %v; want %d", name, byName.Resource, err, i)
		}
		byNumber, err := ParseRlimit(strconv.Itoa(i) + "=5")
		if err != nil || byNumber != byName {
			t.Errorf("number %d gives %v, %v; want %v", i, byNumber, err, byName)
		}
		if got := RlimitResource(i).String(); got != "RLIMIT_"+name {
			t.Errorf("resource %d is called %s, want RLIMIT_%s", i, got, name)
		}
	}
}

func TestParseRlimitRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "must be RLIMIT_NAME=soft:hard or RLIMIT_NAME=value",
		"RLIMIT_NOFILE":                  "must be RLIMIT_NAME=soft:hard or RLIMIT_NAME=value",
		"NOFILE=1":                       `resource "NOFILE" must be one of RLIMIT_CPU, RLIMIT_FSIZE`,
		"rlimit_nofile=1":                `resource "rlimit_nofile" must be one of`,
		"RLIMIT_PTRACE=1":                `resource "RLIMIT_PTRACE" must be one of`,
		"16=1":                           `resource "16" must be one of`,
		"-1=1":                           "or a number from 0 to 15",
		"=1":                             `resource "" must be one of`,
		"RLIMIT_NOFILE=":                 `limit "" must be a number`,
		"RLIMIT_NOFILE=1:":               `limit "" must be a number`,
		"RLIMIT_NOFILE=:1":               `limit "" must be a number`,
		"RLIMIT_NOFILE=-1":               `limit "-1" must be a number from 0 to 18446744073709551615, unlimited or infinity`,
		"RLIMIT_NOFILE=1:2:3":            `limit "2:3" must be a number`,
		"RLIMIT_NOFILE=1k":               `limit "1k" must be a number`,
		"RLIMIT_NOFILE=1 ":               `limit "1 " must be a number`,
		"RLIMIT_NOFILE=Unlimited":        `limit "Unlimited" must be a number`,
		"RLIMIT_AS=18446744073709551616": `limit "18446744073709551616" must be a number`,
		"RLIMIT_NOFILE=2:1":              "soft limit 2 must be at most the hard limit 1",
		"RLIMIT_NOFILE=unlimited:1":      "soft limit unlimited must be at most the hard limit 1",
	} {
		refuses(t, "rlimit", in, want, func() error { _, err := ParseRlimit(in); return err })
	}
}

func TestRlimitText(t *testing.T) {
	marshalsBack(t, Rlimit{RlimitCore, 0, RlimInfinity}, new(Rlimit))
	for _, bad := range []Rlimit{{Resource: 16}, {RlimitCPU, 2, 1}} {
		if text, err := bad.MarshalText(); err == nil {
			t.Errorf("MarshalText of %+v = %q, want an error", bad, text)
		}
	}
}
