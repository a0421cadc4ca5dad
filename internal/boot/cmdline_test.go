package boot

import (
	"strings"
	"testing"
)

func TestCmdline(t *testing.T) {
	var c Cmdline
	c.Set("console", "ttyS0")
	c.Flag("quiet")
	c.Set("panic", "-1")
	c.Set("holt.words", "two words")
	c.Set("empty", "")
	got, err := c.Build()
	if want := `console=ttyS0 quiet panic=-1 holt.words="two words" empty=`; got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestCmdlineRefuses(t *testing.T) {
	for name, fill := range map[string]func(*Cmdline){
		"line feed in value": func(c *Cmdline) { c.Set("a", "b\nc") },
		"NUL in value":       func(c *Cmdline) { c.Set("a", "b\x00") },
		"quote in value":     func(c *Cmdline) { c.Set("a", `b" init=/bin/sh`) },
		"space in name":      func(c *Cmdline) { c.Flag("a init=/bin/sh") },
		"equals in name":     func(c *Cmdline) { c.Set("a=b", "c") },
		"no name":            func(c *Cmdline) { c.Flag("") },
		"too long":           func(c *Cmdline) { c.Set("a", strings.Repeat("x", MaxCmdline-1)) },
	} {
		var c Cmdline
		fill(&c)
		if got, err := c.Build(); err == nil || got != "" {
			t.Errorf("%s: got %q, %v, want an error", name, got, err)
		}
	}
	var c Cmdline
	c.Set("a", strings.Repeat("x", MaxCmdline-2))
	if got, err := c.Build(); err != nil || len(got) != MaxCmdline {
		t.Errorf("longest line: %d bytes, %v", len(got), err)
	}
}
