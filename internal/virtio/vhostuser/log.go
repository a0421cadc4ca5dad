package vhostuser

import (
	"log/slog"
	"sync"
	"time"
)

// logInterval is how far apart warnings that a guest can cause are.
const logInterval = 5 * time.Second

// limitedLog drops warnings that come too fast: a guest can break and restart
// its queues as often as it likes.
type limitedLog struct {
	log *slog.Logger

	mu      sync.Mutex
	last    time.Time
	dropped int
}

// warn logs unless the last warning is too recent.
func (l *limitedLog) warn(msg string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.last.IsZero() && now.Sub(l.last) < logInterval {
		l.dropped++
		return
	}
	if l.dropped > 0 {
		args = append(args, "dropped", l.dropped)
	}
	l.last, l.dropped = now, 0
	l.log.Warn(msg, args...)
}
