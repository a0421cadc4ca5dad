package fsserver

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	logWindow = time.Second
	logBurst  = 10 // records passed in one window
)

// limiter counts records, so that a guest cannot fill the host's log.
type limiter struct {
	mu         sync.Mutex
	window     time.Time
	passed     int
	suppressed int
}

// allow reports whether a record made at now may pass, and how many were
// suppressed since the last one that did.
func (l *limiter) allow(now time.Time) (ok bool, suppressed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.window) >= logWindow {
		l.window, l.passed = now, 0
	}
	if l.passed == logBurst {
		l.suppressed++
		return false, 0
	}
	l.passed++
	suppressed, l.suppressed = l.suppressed, 0
	return true, suppressed
}

// limits keeps what a guest says apart from what the server must say, so that a
// noisy guest cannot silence the latter.
type limits struct{ guest, server limiter }

// limitedHandler is a slog.Handler that drops what its limits refuse.
type limitedHandler struct {
	slog.Handler
	limits *limits
}

func (h *limitedHandler) Handle(ctx context.Context, r slog.Record) error {
	limit := &h.limits.guest
	if r.Level >= slog.LevelWarn {
		limit = &h.limits.server
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

func (h *limitedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limitedHandler{Handler: h.Handler.WithAttrs(attrs), limits: h.limits}
}

func (h *limitedHandler) WithGroup(name string) slog.Handler {
	return &limitedHandler{Handler: h.Handler.WithGroup(name), limits: h.limits}
}
