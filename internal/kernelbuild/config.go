package kernelbuild

import (
	"bufio"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// options reads the format of .config: what is not set is "n". Where an option
// comes again, its last value counts, as it does for the kernel's own tools.
func options(text string) map[string]string {
	values := make(map[string]string)
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if name, ok := strings.CutSuffix(line, " is not set"); ok {
			if name, ok := strings.CutPrefix(name, "# "); ok {
				values[name] = "n"
			}
		} else if name, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, "CONFIG_") {
			values[name] = value
		}
	}
	return values
}

// checkConfig compares the configuration that was asked for with the one that the
// kernel's tools made of it. They drop silently what they do not know and what
// depends on something that is off.
func checkConfig(asked, final string) error {
	want, got := options(asked), options(final)
	var lost []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		value, ok := got[name]
		if !ok {
			value = "n"
		}
		if value != want[name] {
			lost = append(lost, fmt.Sprintf("%s=%s came out as %s", name, want[name], value))
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("this source does not take the configuration (an option is unknown or depends on one that is off):\n  %s", strings.Join(lost, "\n  "))
	}
	return nil
}
