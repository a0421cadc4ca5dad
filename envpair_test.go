package holt

import "testing"

func TestParseEnvPair(t *testing.T) {
	for _, test := range []struct {
		in   string
		want EnvPair
	}{
		{"KEY1=VALUE1", EnvPair{"KEY1", "VALUE1"}},
		{"_=x", EnvPair{"_", "x"}},
		{"az_AZ09=", EnvPair{"az_AZ09", ""}},
		{"A=b=c", EnvPair{"A", "b=c"}},
		{`A="quoted 'value'"`, EnvPair{"A", `"quoted 'value'"`}},
		{"A= spaces\tand\nlines ", EnvPair{"A", " spaces\tand\nlines "}},
		{"ALLOWED_HOSTS=localhost,127.0.0.1", EnvPair{"ALLOWED_HOSTS", "localhost,127.0.0.1"}},
		{"A=\xff\xfe", EnvPair{"A", "\xff\xfe"}},
		{"A=$HOME", EnvPair{"A", "$HOME"}},
	} {
		got, err := ParseEnvPair(test.in)
		if err != nil || got != test.want || got.String() != test.in {
			t.Errorf("ParseEnvPair(%q) = %+v (%q), %v; want %+v", test.in, got, got, err, test.want)
		}
	}
}

func TestParseEnvPairRefuses(t *testing.T) {
	const pattern = "must match [A-Za-z_][A-Za-z0-9_]*"
	for in, want := range map[string]string{
		"":         "must be KEY=VALUE",
		"KEY":      "the host's environment is not passed on",
		"=value":   `key "" ` + pattern,
		"1A=x":     `key "1A" ` + pattern,
		"A-B=x":    `key "A-B" ` + pattern,
		" A=x":     `key " A" ` + pattern,
		"A =x":     `key "A " ` + pattern,
		"A[=x":     pattern,
		"A@=x":     pattern,
		"A`=x":     pattern,
		"A{=x":     pattern,
		"A:=x":     pattern,
		"A/=x":     pattern,
		"\xc1=x":   pattern,
		"é=x":      pattern,
		"A\x00=x":  pattern,
		"A=x\x00y": "must not contain a NUL byte",
	} {
		refuses(t, "env pair", in, want, func() error { _, err := ParseEnvPair(in); return err })
	}
}

func TestEnvPairText(t *testing.T) {
	marshalsBack(t, EnvPair{"A", "b=c é"}, new(EnvPair))
	for _, bad := range []EnvPair{{}, {"A=B", "c"}, {"A", "\x00"}, {"A", "\xff"}} {
		if text, err := bad.MarshalText(); err == nil {
			t.Errorf("MarshalText of %+v = %q, want an error", bad, text)
		}
	}
}
