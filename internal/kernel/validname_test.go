package kernel

import (
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "Z", "6.1.0-56-cloud-amd64", "5.15~rc1_x+y", strings.Repeat("x", 128)} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", ".", "..", ".lock", "-a", "_a", "a/b", "../a", "a b", "a\x00", "a\n", "ä", "aä", "a@", "a[", "a`", "a{", strings.Repeat("x", 129)} {
		if CheckName(name) == nil {
			t.Errorf("%q is taken for a kernel's name", name)
		}
	}
}
