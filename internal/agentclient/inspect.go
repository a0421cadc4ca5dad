package agentclient

import (
	"context"
	"net"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

// Bounds of what the guest may list: the number of items, and the bytes of all.
const (
	maxItems     = 64 << 10
	maxListBytes = 16 << 20
)

// Sessions lists the programs of Exec and Detached that run, and those that have ended
// and that AttachSession can still be used for. It closes conn.
func Sessions(ctx context.Context, conn net.Conn) ([]agentproto.Session, error) {
	return list(ctx, conn, agentproto.OpSessions, func(b []byte) (agentproto.Session, error) {
		s, err := agentproto.DecodeSession(b)
		s.User = printable(s.User)
		for i := range s.Argv {
			s.Argv[i] = printable(s.Argv[i])
		}
		return s, err
	})
}

// Processes lists the guest's processes but for the kernel's own threads, in no order.
// It closes conn.
func Processes(ctx context.Context, conn net.Conn) ([]agentproto.ProcessInfo, error) {
	return list(ctx, conn, agentproto.OpProcesses, func(b []byte) (agentproto.ProcessInfo, error) {
		p, err := agentproto.DecodeProcessInfo(b)
		p.User, p.State, p.Command = printable(p.User), printable(p.State), printable(p.Command)
		return p, err
	})
}

// Stats returns the state of the guest, as the guest says. It closes conn.
func Stats(ctx context.Context, conn net.Conn) (agentproto.GuestStats, error) {
	all, err := list(ctx, conn, agentproto.OpStats, agentproto.DecodeGuestStats)
	if err != nil {
		return agentproto.GuestStats{}, err
	}
	if len(all) != 1 {
		return agentproto.GuestStats{}, &agentproto.ViolationError{What: "not one report of the guest's state"}
	}
	return all[0], nil
}

// Clock adds adjust, a duration of at most 200 years, to the guest's wall clock, and
// returns what it shows then, as the guest says. It closes conn.
func Clock(ctx context.Context, conn net.Conn, adjust time.Duration) (time.Time, error) {
	ns := max(min(int64(adjust), agentproto.MaxAdjustNS), -agentproto.MaxAdjustNS)
	var now time.Time
	err := operate(ctx, conn, agentproto.Request{Op: agentproto.OpClock, AdjustNS: ns}, nil, func(b []byte) error {
		c, err := agentproto.DecodeClock(b)
		now = time.Unix(0, c.NS)
		return err
	})
	if err == nil && now.IsZero() {
		err = &agentproto.ViolationError{What: "no report of the guest's clock"}
	}
	return now, err
}

// list does an operation whose answer is a list.
func list[T any](ctx context.Context, conn net.Conn, op agentproto.Op, decode func([]byte) (T, error)) ([]T, error) {
	var items []T
	size := 0
	err := operate(ctx, conn, agentproto.Request{Op: op}, nil, func(b []byte) error {
		size += len(b)
		if len(items) == maxItems || size > maxListBytes {
			return &agentproto.ViolationError{What: "a list without end"}
		}
		item, err := decode(b)
		items = append(items, item)
		return err
	})
	if err != nil {
		return nil, err
	}
	return items, nil
}

// printable makes text of the guest fit for a terminal, on one line.
func printable(s string) string {
	b := []byte(agentproto.Printable(s, agentproto.MaxMessage))
	for i, c := range b {
		if c == '\n' || c == '\t' {
			b[i] = ' '
		}
	}
	return string(b)
}
