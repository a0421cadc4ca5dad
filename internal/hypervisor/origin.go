package hypervisor

import "github.com/holtvm/holt/internal/guestmem"

// Origin is where a machine goes on from, in place of booting: what a [Saver] saved,
// of the same machine or of another one, in this process or another.
type Origin struct {
	// State is what Save handed out. It may be from an untrusted file.
	State []byte
	// Memory is the guest's memory at that moment. What the machine writes is its own:
	// any number of machines may begin with the same image. Its files must stay open
	// and unchanged until the machine has ended or its memory was rebased.
	Memory *guestmem.Image
	// WorkingSet are pages of Memory that the guest is known to need soon. They are made
	// ready before it runs, as far as this host can; nothing else depends on them.
	WorkingSet []guestmem.Run
	// Ready, unless nil, is called with the guest's memory when everything else is
	// done, just before the vCPUs and the devices go on. Its error becomes that of
	// Start.
	Ready func(*guestmem.Memory) error
}

// Saver is a VM that can be saved, so that others can go on from there.
type Saver interface {
	VM
	// Save hands f the state and the memory of a paused machine, for an [Origin]. It
	// is an error when the machine is not paused or has ended, and where something in
	// it cannot be saved; otherwise the error is f's.
	//
	// Until f returns, the machine stays as it is: everything that would let it go on,
	// Hold and PowerButton wait, and so does Kill, which takes the memory away. So f
	// must not call these itself, and mem is not to be used after it. It may write to
	// mem and rebase it.
	Save(f func(state []byte, mem *guestmem.Memory) error) error
	// Look hands f the guest's memory, of a machine in whatever state: the guest may
	// change it meanwhile. Until f returns, which must be soon, the machine is not taken
	// apart, paused or resumed. It is an error when the machine has ended; otherwise the
	// error is f's.
	Look(f func(mem *guestmem.Memory) error) error
	// Features are the processor features that the guest was shown, sorted, by Linux's
	// names: those of /proc/cpuinfo and some that it does not show. One without a name
	// is called like "leaf7.0.edx:12". It may be called at any time, also after Done.
	Features() []string
}
