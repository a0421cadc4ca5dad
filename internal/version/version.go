// Package version is which Holt this is.
package version

import "runtime/debug"

// built is set by the build of the holt binary.
var built string

const module = "github.com/holtvm/holt"

// Holt is the release of the holt binary or, in another program, of the module; "dev" if
// neither is known.
func Holt() string {
	if built != "" {
		return built
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return of(info)
	}
	return of(&debug.BuildInfo{})
}

func of(info *debug.BuildInfo) string {
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module && m.Version != "" && m.Version != "(devel)" {
			return m.Version
		}
	}
	return "dev"
}
