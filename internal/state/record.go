package state

import (
	"encoding/json"
	"time"
)

// Version is the version of the two files. A directory of another version is left
// alone, and said to be one.
const Version = 1

// Names of the logs in the directory of a VM that is kept, see package outlog.
const (
	OutputLog  = "output"  // what the main program printed
	ConsoleLog = "console" // what the guest's kernel printed
)

// MonitorLog is the file in the directory of a VM that is kept that has its monitor's
// own log since the last start.
const MonitorLog = "monitor.log"

// Record is what a VM is. It is written when the VM is made, and when it is renamed.
type Record struct {
	Version int       `json:"version"`
	ID      string    `json:"id"` // 12 hexadecimal digits; the directory's name
	Name    string    `json:"name,omitempty"`
	Created time.Time `json:"created"`
	// Kept says that the VM stays when it has ended, Remove that its monitor removes
	// it then. A VM that is neither is its client's, and goes with it.
	Kept   bool `json:"kept,omitempty"`
	Remove bool `json:"remove,omitempty"`
	// Config is a holt.Config, and Options is how it is run; both are the business
	// of package holt.
	Config  json.RawMessage `json:"config,omitempty"`
	Options json.RawMessage `json:"options,omitempty"`
}

// Label is how a VM is called: by its name or, without one, its id.
func (r Record) Label() string {
	if r.Name != "" {
		return r.Name
	}
	return r.ID
}

// Status is how far a VM got.
type Status struct {
	Version int       `json:"version"`
	State   State     `json:"state"`
	Run     string    `json:"run,omitempty"`     // from one start to its end; no other has the same
	BootID  string    `json:"boot_id,omitempty"` // of the host, when this was written
	Monitor int       `json:"monitor,omitempty"` // the process id of the monitor
	Backend string    `json:"backend,omitempty"` // kvm or qemu
	Started time.Time `json:"started,omitzero"`
	// The rest is about the last end.
	Finished time.Time `json:"finished,omitzero"`
	End      *End      `json:"end,omitempty"`
}

// End is how a VM ended.
type End struct {
	// Code or Signal is how the main program ended. They are 0 with an Error.
	Code   int  `json:"code"`
	Signal int  `json:"signal,omitempty"`
	Core   bool `json:"core,omitempty"` // it dumped core
	OOM    bool `json:"oom,omitempty"`  // the guest had no memory left for it
	// Error says why the VM ended without its main program's doing. Kind is the
	// agent's kind of error, if it was one. Died says that there was a guest, and
	// Console are the last lines of its console then.
	Error   string `json:"error,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Died    bool   `json:"died,omitempty"`
	Console string `json:"console,omitempty"`
	// Killed says that somebody asked for the end, and did not leave it to the
	// guest.
	Killed bool `json:"killed,omitempty"`
}

// DeathText is how a guest's death is told: the reason and the console's last lines.
func DeathText(reason, console string) string {
	if console == "" {
		return reason + " (the guest console is empty)"
	}
	return reason + "\nthe guest console's last lines:\n" + console
}
