// Package guestlog limits how fast a log grows by lines that a guest can cause.
package guestlog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Burst is how many records of each kind pass in one second: of those below
// slog.LevelWarn, and of the others.
const Burst = 10

const window = time.Second

// New returns a logger to log that drops what comes faster than Burst. The next
// record that passes says how many were suppressed. Loggers made of it share
// its limit.
func New(log *slog.Logger) *slog.Logger {
	return slog.New(&handler{Handler: log.Handler(), limits: new(limits)})
}

// limiter counts the records of one window.
type limiter struct {
	mu         sync.Mutex
	begin      time.Time
	passed     int
	suppressed int
}

// allow reports whether a record made at now may pass, and how many were
// suppressed since the last one that did.
func (l *limiter) allow(now time.Time) (ok bool, suppressed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.begin) >= window {
		l.begin, l.passed = now, 0
	}
	if l.passed == Burst {
		l.suppressed++
		return false, 0
	}
	l.passed++
	suppressed, l.suppressed = l.suppressed, 0
	return true, suppressed
}

// limits keeps what is said in passing apart from warnings, so that a noisy guest
// cannot silence the latter.
type limits struct{ quiet, loud limiter }

// handler is a slog.Handler that drops what its limits refuse.
type handler struct {
	slog.Handler
	limits *limits
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	limit := &h.limits.quiet
	if r.Level >= slog.LevelWarn {
		limit = &h.limits.loud
	}
	ok, suppressed := limit.allow(r.Time)
	if !ok {
		return nil
	}
	if suppressed > 0 {
		r.AddAttrs(slog.Int("suppressed", suppressed))
	}
	return h.Handler.Handle(ctx, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{Handler: h.Handler.WithAttrs(attrs), limits: h.limits}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{Handler: h.Handler.WithGroup(name), limits: h.limits}
}
