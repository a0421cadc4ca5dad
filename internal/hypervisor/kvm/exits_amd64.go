package kvm

import (
	"errors"
	"fmt"

	"github.com/holtvm/holt/internal/kvmapi"
)

// exit does what the guest wants of its monitor. It reports whether the vCPU
// goes on.
func (m *machine) exit(c *vcpu) bool {
	reason := c.api.ExitReason()
	c.exits.add(reason)
	switch reason {
	case kvmapi.ExitIO:
		m.portIO(c.api.IO())
	case kvmapi.ExitMMIO:
		access := c.api.MMIO()
		if access.Write {
			m.memory.write(access.Addr, access.Data)
		} else {
			m.memory.read(access.Addr, access.Data)
		}
	case kvmapi.ExitIntr, kvmapi.ExitIRQWindowOpen, kvmapi.ExitHLT:
		// Nothing to do: the in-kernel interrupt controller waits for interrupts.
	case kvmapi.ExitShutdown:
		m.end(ending{kind: failed, err: fmt.Errorf("%w on vCPU %d: %s", errTripleFault, c.id, m.report(c))})
		return false
	case kvmapi.ExitInternalError:
		m.end(ending{kind: failed, err: fmt.Errorf("vCPU %d: %s: %s", c.id, internalError(c.api), m.report(c))})
		return false
	case kvmapi.ExitFailEntry:
		m.end(ending{kind: failed, err: fmt.Errorf("vCPU %d: the processor refused to enter the guest, hardware reason %#x: %s", c.id, c.api.FailEntryReason(), m.report(c))})
		return false
	default:
		m.end(ending{kind: failed, err: fmt.Errorf("vCPU %d: unexpected exit %s: %s", c.id, reason, m.report(c))})
		return false
	}
	return true
}

// errTripleFault is a guest that faulted while it handled a fault in its fault
// handler, upon which a processor gives up.
var errTripleFault = errors.New("the guest triple-faulted")

// portIO carries out an access to I/O ports: a string instruction makes several
// of one.
func (m *machine) portIO(io kvmapi.IO) {
	size := int(io.Size)
	for data := io.Data; size > 0 && len(data) >= size; data = data[size:] {
		if io.Out {
			m.ports.write(uint64(io.Port), data[:size])
		} else {
			m.ports.read(uint64(io.Port), data[:size])
		}
	}
}
