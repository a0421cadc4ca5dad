package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/holtvm/holt/internal/usernet"
	vnet "github.com/holtvm/holt/internal/virtio/net"
)

// networkEnd closes a guest's network and logs what it did.
type networkEnd struct {
	network *usernet.Network
	card    *vnet.Device
	log     *slog.Logger
}

// Close implements io.Closer.
func (e *networkEnd) Close() error {
	err := e.network.Close()
	logTotals(e.log, e.network.Stats(), e.card.Counters())
	return err
}

// logTotals logs the totals of a network: so that it is seen if something was denied.
func logTotals(log *slog.Logger, s usernet.Stats, card vnet.Counters) {
	level := slog.LevelDebug
	if len(s.Denied) > 0 {
		level = slog.LevelInfo
	}
	var denied []string
	for _, reason := range slices.Sorted(maps.Keys(s.Denied)) {
		denied = append(denied, fmt.Sprintf("%s: %d", reason, s.Denied[reason]))
	}
	log.Log(context.Background(), level, "the guest's network has ended",
		"denied", strings.Join(denied, ", "),
		"frames_out", s.FromGuest.Frames, "bytes_out", s.FromGuest.Bytes,
		"frames_in", s.ToGuest.Frames, "bytes_in", s.ToGuest.Bytes,
		"connections", s.Connections, "flows", s.Flows, "failed", s.Failed, "dns_queries", s.DNSQueries,
		"spoofed", s.Spoofed, "malformed", s.Malformed+card.TxDropped, "ignored", s.Ignored,
		"dropped_in", s.QueueDropped+card.RxDropped)
}
