package fsserver

import (
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxName   = 255  // NAME_MAX
	maxTarget = 4095 // PATH_MAX without the NUL
)

// checkName accepts exactly the names that can be one entry of a directory.
// The guest's kernel resolves "." and ".." itself.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
		return unix.EINVAL
	case len(name) > maxName:
		return unix.ENAMETOOLONG
	}
	return nil
}
