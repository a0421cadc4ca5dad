package kvm

import "github.com/holtvm/holt/internal/hypervisor"

// ending is why a machine stops.
type ending struct {
	kind endingKind
	err  error // for failed
}

type endingKind int

const (
	killed endingKind = iota
	poweredOff
	reset
	failed
)

// error is what hypervisor.VM.Err says of it.
func (e ending) error() error {
	switch e.kind {
	case reset:
		return hypervisor.ErrReset
	case failed:
		return e.err
	}
	return nil
}

func (e ending) String() string {
	switch e.kind {
	case killed:
		return "killed"
	case poweredOff:
		return "power off"
	case reset:
		return "reset"
	}
	return "failed"
}
