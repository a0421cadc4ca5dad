package kernelbuild

import (
	"maps"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	got := options("# a comment\nCONFIG_A=y\n\nCONFIG_B=\"a = b\"\n# CONFIG_C is not set\nCONFIG_D=n\nCONFIG_A=n\nnonsense\n# CONFIG_E=y\n")
	want := map[string]string{"CONFIG_A": "n", "CONFIG_B": `"a = b"`, "CONFIG_C": "n", "CONFIG_D": "n"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCheckConfig(t *testing.T) {
	const final = "CONFIG_ON=y\nCONFIG_NUMBER=64\n# CONFIG_OFF is not set\nCONFIG_MORE=y\n"
	for _, c := range []struct {
		asked string
		want  []string // nil: it is as asked
	}{
		{"CONFIG_ON=y\nCONFIG_NUMBER=64\nCONFIG_OFF=n\n", nil},
		{"# CONFIG_UNKNOWN is not set\nCONFIG_OTHER=n\n", nil},
		{"CONFIG_ON=n\nCONFIG_ON=y\n", nil},
		{"CONFIG_OFF=y\n", []string{"CONFIG_OFF=y came out as n"}},
		{"CONFIG_UNKNOWN=y\nCONFIG_NUMBER=8\n", []string{"CONFIG_UNKNOWN=y came out as n", "CONFIG_NUMBER=8 came out as 64"}},
		{"CONFIG_ON=n\n", []string{"CONFIG_ON=n came out as y"}},
		{"# CONFIG_MORE is not set\n", []string{"CONFIG_MORE=n came out as y"}},
	} {
		err := checkConfig(c.asked, final)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%q: got %v, want %q", c.asked, err, c.want)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v does not say %q", c.asked, err, want)
			}
		}
	}
}
