package kvm

import (
	"log/slog"
	"time"
)

// steps times the parts of a machine's start, for the log.
type steps struct {
	last time.Time
	took []any
}

func newSteps() *steps { return &steps{last: time.Now()} }

// done says that what name names took the time since the last call.
func (s *steps) done(name string) {
	now := time.Now()
	s.took = append(s.took, slog.Duration(name, now.Sub(s.last).Round(time.Microsecond)))
	s.last = now
}
