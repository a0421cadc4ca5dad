package vsock

import (
	"log/slog"
	"time"
)

// guestLog writes lines that a guest can cause, at most one a second.
type guestLog struct {
	log     *slog.Logger
	next    time.Time
	dropped int
}

func (g *guestLog) packet(what string, h *header) {
	now := time.Now()
	if now.Before(g.next) {
		g.dropped++
		return
	}
	g.log.Warn("vsock: "+what, "op", h.op, "type", h.typ, "src_cid", h.srcCID, "src_port", h.srcPort,
		"dst_cid", h.dstCID, "dst_port", h.dstPort, "len", h.length, "lines_dropped", g.dropped)
	g.next, g.dropped = now.Add(time.Second), 0
}
