package agentproto

import "time"

// FreezeTimeout is how long user space is held at most, by the guest's clock: then the
// agent lets it go. It is shorter than the 0.95 s after which Linux gives all programs a
// part of each second in spite of real-time ones (sched(7)), so no other program of the
// guest gets a processor before.
const FreezeTimeout = 800 * time.Millisecond

// The mailbox of a freeze, in guest memory: where its parts are, as offsets in bytes from
// its address, and how large they are. Numbers are little endian. The host writes the
// clock and the seed before it writes the state.
const (
	// MailboxMagic is at its start.
	MailboxMagic = "holtfrz1"
	// MailboxState has one of the states below, 32 bits.
	MailboxState = 8
	// MailboxClock has the wall clock for a clone, nanoseconds since 1970 in 64 bits;
	// 0 leaves the guest's.
	MailboxClock = 16
	// MailboxSeed has MailboxSeedSize bytes for the random numbers of a clone.
	MailboxSeed     = 24
	MailboxSeedSize = 32
	// MailboxSize is the size of it all.
	MailboxSize = MailboxSeed + MailboxSeedSize
)

// The states of a mailbox.
const (
	// MailboxArming is the first: user space is not held yet.
	MailboxArming uint32 = 0
	// MailboxFrozen is the agent's word that no user space runs. As long as the machine
	// runs it may become MailboxGoOn, so the host looks again once it has paused it.
	MailboxFrozen uint32 = 1
	// MailboxGoOn lets user space go. It is the host's word or, after FreezeTimeout or
	// when user space cannot be held, the agent's.
	MailboxGoOn uint32 = 2
	// MailboxClone takes over the seed and the clock, and then lets user space go. It is
	// the host's word to a machine that was paused while frozen.
	MailboxClone uint32 = 3
)

// Freeze is the answer to OpFreeze, in a TypeReport frame.
type Freeze struct {
	// Addr is the guest-physical address of the mailbox's page, which is aligned to
	// mailboxAlign and not 0.
	Addr uint64 `json:"addr"`
}

// mailboxAlign is the smallest page, in bytes.
const mailboxAlign = 4096

// DecodeFreeze decodes the payload of the TypeReport frame that answers OpFreeze. An
// address that is not a page's is a ViolationError. Whether there is memory is for the
// caller to check.
func DecodeFreeze(b []byte) (Freeze, error) {
	var f Freeze
	if err := unmarshal("freeze", b, &f, false); err != nil {
		return f, err
	}
	if f.Addr == 0 || f.Addr%mailboxAlign != 0 {
		return f, violation("freeze: address %#x is not a page's", f.Addr)
	}
	return f, nil
}
