package kvmapi

import "fmt"

const ioCheckExtension = 0xAE03

// Cap is an extension of KVM that can be asked for (kvm.h, KVM_CAP_*).
type Cap uint32

// The extensions that are asked for. The comment says what CheckExtension
// answers where it is not simply 1.
const (
	CapMaxVCPUs         Cap = 66 // vCPUs that a machine can have
	CapTSCDeadlineTimer Cap = 72
	CapXSave2           Cap = 208 // size of the XSave area in bytes; 0 means 4096
)

// CheckExtension is KVM_CHECK_EXTENSION (4.4) for this machine: 0 where the
// kernel lacks the extension, otherwise 1 or the number that it defines.
func (v *VM) CheckExtension(c Cap) (int, error) {
	n, err := ioctl(v.f, ioCheckExtension, uintptr(c))
	if err != nil {
		return 0, fmt.Errorf("check kvm extension %d: %w", c, err)
	}
	return int(n), nil
}
