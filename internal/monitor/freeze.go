package monitor

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
)

// freezeTime is how long a guest may take to hold its programs, and freezeTries how often
// it is asked to for one save: its processors may have to wait for the host's.
const (
	freezeTime  = 500 * time.Millisecond
	freezeTries = 6
	// heldLate is when the machine has to stand still, from when the guest was asked: of
	// the time for which it holds its programs, a clone needs the rest.
	heldLate = 400 * time.Millisecond
)

// mailbox is the guest address of a page through which the host tells the agent, which
// holds all programs, how to go on; 0 if it does not hold them. What is written there
// is the guest's own memory, wherever the guest says that it is.
type mailbox uint64

// open returns the bytes of the mailbox, and nil if there is none.
func (m mailbox) open(mem *guestmem.Memory) ([]byte, error) {
	if m == 0 {
		return nil, nil
	}
	b, err := mem.Slice(uint64(m), agentproto.MailboxSize)
	if err != nil {
		return nil, fmt.Errorf("the agent's mailbox: %w", err)
	}
	if string(b[:len(agentproto.MailboxMagic)]) != agentproto.MailboxMagic {
		return nil, fmt.Errorf("the agent's mailbox is not at %#x", uint64(m))
	}
	return b, nil
}

// frozen reports whether the agent holds all programs.
func (m mailbox) frozen(mem *guestmem.Memory) (bool, error) {
	b, err := m.open(mem)
	return b != nil && binary.LittleEndian.Uint32(b[agentproto.MailboxState:]) == agentproto.MailboxFrozen, err
}

// goOn lets the programs of the guest that was saved go on.
func (m mailbox) goOn(mem *guestmem.Memory) {
	if b, err := m.open(mem); err == nil && b != nil {
		binary.LittleEndian.PutUint32(b[agentproto.MailboxState:], agentproto.MailboxGoOn)
	} // else the guest gives up waiting
}

// renew tells a clone, whose processors do not run yet, the time, and gives it a seed:
// before any program goes on the kernel has both.
func (m mailbox) renew(mem *guestmem.Memory) error {
	b, err := m.open(mem)
	if err != nil || b == nil {
		return err
	}
	rand.Read(b[agentproto.MailboxSeed:agentproto.MailboxSize])
	binary.LittleEndian.PutUint64(b[agentproto.MailboxClock:], uint64(time.Now().UnixNano()))
	binary.LittleEndian.PutUint32(b[agentproto.MailboxState:], agentproto.MailboxClone)
	return nil
}

// errNotHeld says that a guest had no time to hold its programs.
var errNotHeld = errors.New("the guest's programs were not held")

// freeze makes the agent hold all programs of the guest. The error is errNotHeld if it
// may succeed another time. A guest that cannot is saved without: then its clones' programs
// may run for a moment before their kernel has noticed that it is another one.
func (i *instance) freeze(ctx context.Context, vm hypervisor.Saver) (mailbox, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, freezeTime, fmt.Errorf("%w within %v", errNotHeld, freezeTime))
	defer cancel()
	begin := time.Now()
	box, err := i.askToFreeze(ctx, vm)
	if err != nil {
		if refused, ok := errors.AsType[*agentproto.Error](err); ok && refused.Kind == agentproto.KindBusy || ctx.Err() != nil {
			return 0, fmt.Errorf("%w: %w", errNotHeld, err) // it has to do with the last try
		}
		return 0, err
	}
	i.log.Debug("the guest's programs are held", "took", time.Since(begin))
	return box, nil
}

func (i *instance) askToFreeze(ctx context.Context, vm hypervisor.Saver) (mailbox, error) {
	i.mu.Lock()
	dial := i.dial
	i.mu.Unlock()
	conn, err := dial(ctx, agentproto.ServicePort)
	if err != nil {
		return 0, err
	}
	addr, err := agentclient.Freeze(ctx, conn)
	if err != nil {
		return 0, err
	}
	box := mailbox(addr)
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 5*time.Millisecond) {
		frozen := false
		err := vm.Look(func(mem *guestmem.Memory) (err error) {
			frozen, err = box.frozen(mem)
			if !frozen && ctx.Err() != nil {
				box.goOn(mem) // nobody waits for it any more
			}
			return err
		})
		switch {
		case err != nil:
			return 0, err
		case frozen:
			return box, nil
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		}
		time.Sleep(wait)
	}
}
