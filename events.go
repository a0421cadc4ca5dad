package holt

import (
	"context"
	"iter"
	"time"

	"github.com/holtvm/holt/internal/eventlog"
	"github.com/holtvm/holt/internal/paths"
)

// Event is something that happened to a VM.
type Event struct {
	Time time.Time `json:"time"`
	// Action is create, start, pause, resume, stop (somebody asked for the end), kill
	// (or sent a signal), die (the VM ended), exec, exec-end, rename, remove or copy.
	Action string `json:"action"`
	// ID and Name are the VM's; a VM need not have a name.
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Attributes say more, such as a program's exit_status.
	Attributes map[string]string `json:"attributes,omitempty"`
}

// EventOptions say which events are given. The zero value is all that are kept, until
// now.
type EventOptions struct {
	// Since and Until bound the events' times, unless zero: from Since on, and before
	// Until.
	Since, Until time.Time
	// Follow waits for more events, until Until is over.
	Follow bool
}

// Events gives what happened to the VMs of the calling user, whoever did it, the
// oldest first. The last 4 MiB at least are kept. The sequence ends after an error;
// that of ctx is one. Each use of it reads the events anew.
func Events(ctx context.Context, o EventOptions) iter.Seq2[Event, error] {
	return sequence(func(each func(Event) error) error {
		dirs, err := paths.Default()
		if err != nil {
			return err
		}
		return eventlog.Read(ctx, dirs.Data, eventlog.Options(o), func(e eventlog.Event) error { return each(Event(e)) })
	})
}

// Events is [Events] of this VM alone.
func (vm *VM) Events(ctx context.Context, o EventOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for e, err := range Events(ctx, o) {
			if (err != nil || e.ID == vm.ID()) && !yield(e, err) {
				return
			}
		}
	}
}
