package state

import (
	"fmt"
	"slices"
	"strings"
)

// State is where a VM is in its life.
type State string

// The states.
const (
	Created  State = "created"  // never started
	Starting State = "starting" // on its way to running: a kernel boots
	Running  State = "running"  // its main program runs
	Paused   State = "paused"   // its processors stand still
	Stopping State = "stopping" // asked to end
	Stopped  State = "stopped"  // ended, in whichever way
)

// Live reports whether a monitor is in charge of a VM in this state.
func (s State) Live() bool { return s != Created && s != Stopped }

// Operation is something that is done to a VM.
type Operation string

// The operations that depend on a VM's state.
const (
	Start    Operation = "start"
	Stop     Operation = "stop"
	Kill     Operation = "kill"
	Pause    Operation = "pause"
	Resume   Operation = "resume"
	Restart  Operation = "restart"
	Signal   Operation = "signal"  // the main program
	Attach   Operation = "attach"  // to the main program
	Use      Operation = "use"     // the agent: exec, files
	Measure  Operation = "measure" // stats, metrics
	Snapshot Operation = "snapshot"
	Fork     Operation = "fork"
	Wait     Operation = "wait"
	Remove   Operation = "remove"
)

// table says in which states each operation is legal. docs/running.md shows it; a
// test compares the two.
var table = map[Operation][]State{
	Start:    {Created, Stopped},
	Stop:     {Starting, Running, Paused, Stopping},
	Kill:     {Starting, Running, Paused, Stopping},
	Pause:    {Running},
	Resume:   {Paused},
	Restart:  {Created, Starting, Running, Paused, Stopping, Stopped},
	Signal:   {Running, Stopping},
	Attach:   {Running, Paused, Stopping},
	Use:      {Running, Stopping},
	Measure:  {Starting, Running, Paused, Stopping},
	Snapshot: {Running, Paused},
	Fork:     {Running, Paused},
	Wait:     {Starting, Running, Paused, Stopping, Stopped},
	Remove:   {Created, Stopped},
}

// Operations are all operations of the table.
func Operations() []Operation {
	return []Operation{Start, Stop, Kill, Pause, Resume, Restart, Signal, Attach, Use, Measure, Snapshot, Fork, Wait, Remove}
}

// Allows reports whether an operation is legal in this state.
func (s State) Allows(op Operation) bool { return slices.Contains(table[op], s) }

// Error says that a VM is not in a state for an operation.
type Error struct {
	Operation Operation
	VM        string // its name or id
	State     State
}

// Error implements error.
func (e *Error) Error() string {
	var legal []string
	for _, s := range table[e.Operation] {
		legal = append(legal, string(s))
	}
	return fmt.Sprintf("cannot %s VM %s: it is %s (must be %s)", e.Operation, e.VM, e.State, strings.Join(legal, " or "))
}

// Check returns an *Error unless the operation is legal for the VM in its state.
func (s State) Check(op Operation, vm string) error {
	if s.Allows(op) {
		return nil
	}
	return &Error{op, vm, s}
}
