package holt

import (
	"encoding/json"
	"testing"
)

// fuzzGrammar checks that whatever a parser accepts is valid by itself, and
// that its text reads back as the same value.
func fuzzGrammar[T interface {
	comparable
	check() error
	String() string
}](f *testing.F, parse func(string) (T, error), seeds ...string) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		value, err := parse(s)
		if err != nil {
			var zero T
			if value != zero {
				t.Fatalf("%q: an error and %+v", s, value)
			}
			return
		}
		if err := value.check(); err != nil {
			t.Fatalf("%q gives the invalid %+v: %v", s, value, err)
		}
		if back, err := parse(value.String()); err != nil || back != value {
			t.Fatalf("%q gives %+v, whose text %q gives %+v, %v", s, value, value, back, err)
		}
	})
}

func FuzzParsePathPair(f *testing.F) {
	fuzzGrammar(f, ParsePathPair, "/home:/guest/mount", "./:/app:ro", "/shared", "a:b:c:d", ":", "/a:/b:rw")
}

func FuzzParsePortPair(f *testing.F) {
	fuzzGrammar(f, ParsePortPair, "8080:80", "3000/udp", "127.0.0.1:1:2/tcp", "[::1]:80:80", "[::ffff:1.2.3.4]:1:1", "70000", "[fe80::1%a]:1:1")
}

func FuzzParseRlimit(f *testing.F) {
	fuzzGrammar(f, ParseRlimit, "RLIMIT_NOFILE=1024:1024", "7=1", "RLIMIT_CORE=0:unlimited", "RLIMIT_AS=infinity", "15=2:1", "=")
}

func FuzzParseEnvPair(f *testing.F) {
	fuzzGrammar(f, ParseEnvPair, "KEY=VALUE", "A==", "_=\xff", "1=2", "A=\x00")
}

func FuzzParseLogLevel(f *testing.F) {
	for _, seed := range append(logLevelNames, "", "OFF") {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if level, err := ParseLogLevel(s); err == nil && level.String() != s {
			t.Fatalf("%q gives %v", s, level)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	full, err := json.Marshal(fullConfig())
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(full), `{}`, `null`, `{"args":[null]}`, `{"args":["\ud800\u0000"]}`, `{"a":1,"a":2}`, `{} 1`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatalf("%q gives %+v, which cannot be written: %v", data, c, err)
		}
		if back, err := ParseConfig(text); err != nil || !back.Equal(c) {
			t.Fatalf("%q gives %+v, whose text %s gives %+v, %v", data, c, text, back, err)
		}
	})
}
