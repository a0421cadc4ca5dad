package holt

import (
	"time"

	"github.com/holtvm/holt/internal/eventlog"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/state"
)

// What this package notes in the log of events.
const (
	eventCreate = eventlog.Create
	eventStart  = eventlog.Start
	eventPause  = eventlog.Pause
	eventResume = eventlog.Resume
	eventStop   = eventlog.Stop
	eventKill   = eventlog.Kill
	eventRename = eventlog.Rename
	eventRemove = eventlog.Remove

	eventSnapshot = eventlog.Snapshot
	eventFork     = eventlog.Fork

	eventExec    = eventlog.Exec
	eventExecEnd = eventlog.ExecEnd
)

// note adds an event to the log. What is noted has happened: that it cannot be noted
// is no reason to call it failed.
func note(action string, r state.Record, attributes ...string) {
	dirs, err := paths.Default()
	if err != nil {
		return
	}
	e := eventlog.Event{Time: time.Now(), Action: action, ID: r.ID, Name: r.Name}
	for i := 0; i+1 < len(attributes); i += 2 {
		if e.Attributes == nil {
			e.Attributes = map[string]string{}
		}
		e.Attributes[attributes[i]] = attributes[i+1]
	}
	_ = eventlog.Append(dirs.Data, e)
}
