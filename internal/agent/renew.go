package agent

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// The kernel's name of this boot (random(4)).
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// renew makes this guest, a clone of another one, one of its own. Then ch carries the
// main program, if there is one now.
//
// What the agent itself has in memory of the other guest gives nothing away: it draws no
// random numbers but for Go's own maps, and its sessions' ids are counted.
func (a *agent) renew(ch *channel, spec []byte) error {
	r, err := agentproto.DecodeRenewal(spec)
	if err != nil {
		return err
	}
	failure, err := a.renewAndStart(ch, r)
	if err != nil || failure == nil && a.main.get() == nil {
		return err
	}
	a.carryMain(ch, failure)
	return nil
}

// renewAndStart does everything that r asks for, and tells the host. failure is why the
// main program cannot be started.
func (a *agent) renewAndStart(ch *channel, r agentproto.Renewal) (failure *agentproto.Error, err error) {
	a.renewing.Lock()
	defer a.renewing.Unlock()
	if err := a.main.allows(r.Program); err != nil {
		return nil, err
	}
	if err := a.apply(r); err != nil {
		return nil, fmt.Errorf("renew the guest: %w", err)
	}
	start := r.Program != nil && a.main.get() == nil
	if start && a.stopping.Load() {
		return nil, &agentproto.Error{Kind: agentproto.KindBusy, Message: "the guest is shutting down"}
	}
	if err := ch.out.Frame(agentproto.TypeOK, nil); err != nil {
		return nil, err
	}
	if start {
		failure = a.startMain(*r.Program, r.Program)
	}
	return failure, nil
}

// apply changes what r names. It may be repeated.
func (a *agent) apply(r agentproto.Renewal) error {
	if len(r.Seed) > 0 { // first of all: others may draw from it
		if err := reseed(r.Seed); err != nil {
			return err
		}
	}
	if err := setClock(r.ClockNS, renewedClock); err != nil {
		return err
	}
	if err := setHostname(r.Hostname); err != nil {
		return err
	}
	if r.Hostname != "" {
		a.hostname = r.Hostname
	}
	if err := a.applyNetwork(r); err != nil {
		return fmt.Errorf("set up the network: %w", err)
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open root: %w", err)
	}
	defer unix.Close(root)
	if a.network != nil && (r.Network != nil || r.Hostname != "") {
		a.writeEtc(root)
	}
	return writeIDs(&etc{root: root, shelf: &a.shelf, inMemory: inMemory}, r)
}

func (a *agent) applyNetwork(r agentproto.Renewal) error {
	if r.Network == nil {
		return nil
	}
	var old agentproto.Network
	if a.network != nil {
		old = *a.network
	}
	mac, err := r.OldHardwareAddr()
	if err != nil {
		return err
	}
	if err := renewNetwork(mac, old, *r.Network, "/proc/sys/net"); err != nil {
		return err
	}
	a.network = r.Network
	return nil
}

// writeIDs makes the machine's and the boot's ids what r says, in all files that have
// them. D-Bus has a copy of its own in some systems, and a link in others.
func writeIDs(e *etc, r agentproto.Renewal) error {
	for _, f := range []struct {
		name, id string
		flags    uint64
	}{
		{"/etc/machine-id", r.MachineID, 0},
		{"/var/lib/dbus/machine-id", r.MachineID, unix.O_NOFOLLOW},
		{bootIDFile, r.BootID, 0},
	} {
		if f.id == "" {
			continue
		}
		if err := e.replace(f.name, f.flags, f.id+"\n"); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return nil
}
