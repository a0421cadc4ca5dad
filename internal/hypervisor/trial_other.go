//go:build !amd64

package hypervisor

import (
	"context"

	"github.com/holtvm/holt/internal/kvmapi"
)

// try has no trial program for this architecture.
func try(context.Context, *kvmapi.Device) error { return errUnsupported }
