package qemu

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/holtvm/holt/internal/hypervisor"
)

// ending is all that is known about how a machine ended.
type ending struct {
	status  syscall.WaitStatus
	reason  string // QMP's; "" if QEMU gave none
	killed  bool   // by Kill
	failure error  // of ours, for which we killed it
	stderr  string
}

// err is the machine's error. What the guest did comes first: it is a fact, and
// whatever happens afterwards (sockets that break, a Kill) follows from it.
func (e ending) err() error {
	switch {
	case e.reason == "guest-shutdown":
		return nil
	case e.reason == "guest-reset":
		return hypervisor.ErrReset
	case e.killed:
		return nil
	case e.status.Signaled() && e.status.Signal() == syscall.SIGKILL && e.failure != nil:
		return e.failure
	case e.status.Signaled():
		return e.withMessages(fmt.Errorf("qemu was killed by signal %d (%v)", e.status.Signal(), e.status.Signal()))
	case e.status.ExitStatus() != 0:
		return e.withMessages(fmt.Errorf("qemu ended with status %d", e.status.ExitStatus()))
	case e.failure != nil:
		return e.failure
	case e.reason != "":
		return fmt.Errorf("qemu ended: %s", e.reason) // such as host-signal: somebody's SIGTERM
	}
	return e.withMessages(errors.New("qemu ended, and the guest had not powered off"))
}

func (e ending) withMessages(err error) error {
	text := strings.TrimSpace(e.stderr)
	if text == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, text)
}
