// Package kernel holds the configuration of Holt's own guest kernel. It is
// embedded, so that a holt binary alone can build that kernel; how is
// internal/kernelbuild's matter, and docs/kernels.md is for those who change it.
package kernel

import (
	_ "embed"
	"fmt"
)

var (
	//go:embed holt.config
	common string
	//go:embed x86_64.config
	x86 string
)

// Config is the configuration for an architecture as Go names it, in the format
// of the kernel's own .config. It is to be merged over allnoconfig.
func Config(arch string) (string, error) {
	if arch != "amd64" {
		return "", fmt.Errorf("there is no kernel configuration for %s yet, only for amd64", arch)
	}
	return common + "\n" + x86, nil
}
