//go:build !amd64

package kvm

import (
	"errors"

	"github.com/holtvm/holt/internal/hypervisor"
)

// cpuid has no counterpart there.
type cpuid struct{}

func build(hypervisor.Machine) (*machine, error) {
	return nil, errors.New("the kvm backend runs on x86-64 only, so far")
}

func (m *machine) exit(*vcpu) bool { return false }

func (m *machine) tellStopped() {}
