package version

import (
	"runtime/debug"
	"testing"
)

func TestVersionOfAnotherProgram(t *testing.T) {
	for _, c := range []struct {
		main, holt *debug.Module
		want       string
	}{
		{&debug.Module{Path: "example.org/app", Version: "v9.9.9"}, &debug.Module{Path: module, Version: "v1.2.3"}, "v1.2.3"},
		{&debug.Module{Path: module, Version: "v1.2.3"}, &debug.Module{Path: "example.org/lib", Version: "v7.0.0"}, "v1.2.3"},
		{&debug.Module{Path: module, Version: "(devel)"}, &debug.Module{Path: "example.org/lib", Version: "v7.0.0"}, "dev"},
	} {
		if got := of(&debug.BuildInfo{Main: *c.main, Deps: []*debug.Module{c.holt}}); got != c.want {
			t.Errorf("%s in %s: %q, want %q", c.holt.Path, c.main.Path, got, c.want)
		}
	}
}
