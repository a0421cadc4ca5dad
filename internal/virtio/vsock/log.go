package vsock

import "log/slog"

// logPacket says what is wrong with a packet of the guest's.
func logPacket(log *slog.Logger, what string, h *header) {
	log.Warn("vsock: "+what, "op", h.op, "type", h.typ, "src_cid", h.srcCID, "src_port", h.srcPort,
		"dst_cid", h.dstCID, "dst_port", h.dstPort, "len", h.length)
}
