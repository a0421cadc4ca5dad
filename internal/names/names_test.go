package names

import (
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, name := range []string{"a", "web-1", "A.b_c", "0123456789abc", "0123456789aB", strings.Repeat("n", 63)} {
		if err := Check("VM", name); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]string{
		"": "must be 1 to 63", "-a": "must be", ".a": "must be", "a b": "must be", "a/b": "must be", "a\n": "must be",
		strings.Repeat("n", 64): "must be", "0123456789ab": "looks like an id",
	} {
		if err := Check("thing", name); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "thing name ") {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
}

func TestNewID(t *testing.T) {
	if a, b := NewID(), NewID(); !IsID(a) || !IsID(b) || a == b {
		t.Errorf("%q and %q", a, b)
	}
}

func TestMatch(t *testing.T) {
	all := [][2]string{{"0123aaaaaaaa", "web"}, {"0123bbbbbbbb", ""}, {"4567cccccccc", "0123"}}
	for name, want := range map[string][]string{
		"web": {"0123aaaaaaaa"}, "0123a": {"0123aaaaaaaa"}, "0123": {"4567cccccccc"}, "4567": {"4567cccccccc"},
		"012": nil, "none": nil, "01": nil,
	} {
		var ids []string
		for _, one := range Match(all, name, func(one [2]string) (id, name string) { return one[0], one[1] }) {
			ids = append(ids, one[0])
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%q: %q, want %q", name, ids, want)
		}
	}
	if found := Match(all[:2], "0123", func(one [2]string) (id, name string) { return one[0], one[1] }); len(found) != 2 {
		t.Errorf("0123 stands for %q", found)
	}
}
