package holt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParsePathPair(t *testing.T) {
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		in   string
		want PathPair
	}{
		{"/home:/guest/mount", PathPair{"/home", "/guest/mount", false}},
		{"/home:/guest/mount:ro", PathPair{"/home", "/guest/mount", true}},
		{"/home:/guest/mount:rw", PathPair{"/home", "/guest/mount", false}},
		{"./:/app", PathPair{cwd, "/app", false}},
		{"data/:/app", PathPair{filepath.Join(cwd, "data"), "/app", false}},
		{"/shared", PathPair{"/shared", "/shared", false}},
		{"/shared/", PathPair{"/shared", "/shared", false}},
		{"./x", PathPair{filepath.Join(cwd, "x"), filepath.Join(cwd, "x"), false}},
		{"/a b:/devices", PathPair{"/a b", "/devices", false}},
		{"/:/host", PathPair{"/", "/host", false}},
	} {
		got, err := ParsePathPair(test.in)
		if err != nil || got != test.want {
			t.Errorf("ParsePathPair(%q) = %+v, %v; want %+v", test.in, got, err, test.want)
		}
	}
}

func TestParsePathPairRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                   "host path is empty",
		":/app":              "host path is empty",
		"/a:":                `guest path "" must be absolute`,
		"/a:app":             `guest path "app" must be absolute`,
		"/a:ro":              `guest path "ro" must be absolute`,
		"/a:/app/":           `guest path "/app/" must be clean: "/app"`,
		"/a:/x/../app":       `must be clean: "/app"`,
		"/a://app":           `must be clean: "/app"`,
		"/a:/":               `guest path must not be "/"`,
		"/":                  `guest path must not be "/"`,
		"/a:/proc":           "must not be in /proc, /sys, /dev",
		"/a:/sys/fs":         "must not be in /proc, /sys, /dev",
		"/dev/shm":           "must not be in /proc, /sys, /dev",
		"/a:/b:/c":           `mode "/c" must be ro or rw`,
		"/a:/b:":             `mode "" must be ro or rw`,
		"/a:/b:RO":           `mode "RO" must be ro or rw`,
		"a:b:c:d":            "a path that contains ':' cannot be mapped",
		"/a\x00b:/app":       "must not contain a NUL byte",
		"/a:/app\x00":        "must not contain a NUL byte",
		"/a:/app:ro:ignored": "must be host:guest[:ro] or path",
	} {
		refuses(t, "path pair", in, want, func() error { _, err := ParsePathPair(in); return err })
	}
}

func TestPathPairText(t *testing.T) {
	for _, pair := range []PathPair{{"/a", "/b", false}, {"/a", "/b", true}} {
		marshalsBack(t, pair, new(PathPair))
	}
	for _, bad := range []PathPair{{}, {"/a:b", "/c", false}, {"/a", "/c:d", false}, {"/a", "/", false}, {"/\xff", "/c", false}} {
		if text, err := bad.MarshalText(); err == nil {
			t.Errorf("MarshalText of %+v = %q, want an error", bad, text)
		}
	}
}

// refuses checks that a parser names its argument and says what is wrong.
func refuses(t *testing.T, kind, in, want string, parse func() error) {
	t.Helper()
	err := parse()
	if err == nil {
		t.Errorf("%s %q was accepted", kind, in)
		return
	}
	if !strings.HasPrefix(err.Error(), kind+" ") || !strings.Contains(err.Error(), want) {
		t.Errorf("%s %q: error %q, want it to contain %q", kind, in, err, want)
	}
}
