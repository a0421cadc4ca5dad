package boot

import (
	"errors"
	"fmt"
	"strings"
)

// MaxCmdline is the longest kernel command line on x86, in bytes (Linux,
// COMMAND_LINE_SIZE less the final NUL).
const MaxCmdline = 2047

// Cmdline collects the parameters of a kernel command line in order. The
// zero value is empty and ready to use.
type Cmdline struct {
	params []string
	errs   []error
}

// Flag adds a parameter without a value.
func (c *Cmdline) Flag(name string) {
	if c.checkName(name) {
		c.params = append(c.params, name)
	}
}

// Set adds name=value, quoted if the value has spaces.
func (c *Cmdline) Set(name, value string) {
	if !c.checkName(name) {
		return
	}
	if i := strings.IndexAny(value, "\"\n\r\x00"); i >= 0 {
		c.errs = append(c.errs, fmt.Errorf("kernel parameter %s: its value %q has a character that cannot be passed: %q", name, value, value[i]))
		return
	}
	if strings.ContainsAny(value, " \t\v\f") {
		value = `"` + value + `"`
	}
	c.params = append(c.params, name+"="+value)
}

func (c *Cmdline) checkName(name string) bool {
	if name == "" || strings.ContainsAny(name, "=\" \t\v\f\n\r\x00") {
		c.errs = append(c.errs, fmt.Errorf("kernel parameter name %q: it is empty or has a character that cannot be passed", name))
		return false
	}
	return true
}

// Build returns the command line, or every problem with it in one error.
func (c *Cmdline) Build() (string, error) {
	if err := errors.Join(c.errs...); err != nil {
		return "", err
	}
	line := strings.Join(c.params, " ")
	if len(line) > MaxCmdline {
		return "", fmt.Errorf("kernel command line has %d bytes, at most %d are possible", len(line), MaxCmdline)
	}
	return line, nil
}
