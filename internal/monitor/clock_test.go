package monitor

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

// guestClock is the clock of a guest, and how long it takes to read a question and to
// answer it.
type guestClock struct {
	off       time.Duration // it is ahead of the host's
	reads     time.Duration
	answers   time.Duration
	quickFrom int // and it is quick from this question on; 0: never
	asked     int
	set       int
	t         *testing.T
}

func (g *guestClock) dial(context.Context, uint32) (net.Conn, error) {
	host, guest := net.Pipe()
	go func() {
		defer guest.Close()
		q, err := agentproto.NewReader(guest, agentproto.Host).Request()
		if err != nil || q.Op != agentproto.OpClock {
			g.t.Errorf("request %+v, %v", q, err)
			return
		}
		if g.asked++; g.asked == g.quickFrom {
			g.reads, g.answers = time.Millisecond, time.Millisecond
		}
		time.Sleep(g.reads)
		if q.AdjustNS != 0 {
			g.set++
			g.off += time.Duration(q.AdjustNS)
		}
		out := agentproto.NewBatch(guest)
		_ = out.Report(agentproto.Clock{NS: time.Now().Add(g.off).UnixNano()})
		_ = out.Frame(agentproto.TypeOK, nil)
		time.Sleep(g.answers)
		_ = out.Flush()
	}()
	return host, nil
}

// TestCheckClock: a clone's clock is set if it is wrong for certain, whichever way, and
// asked for again if that cannot be told.
func TestCheckClock(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		clock      guestClock
		asked, set int
		within     time.Duration
	}{
		"right":                 {guestClock{off: ms / 2, reads: ms, answers: ms}, 1, 0, ms},
		"behind":                {guestClock{off: -2700 * ms, reads: ms, answers: ms}, 2, 1, ms},
		"ahead":                 {guestClock{off: 2700 * ms, reads: ms, answers: ms}, 2, 1, ms},
		"slow to read, right":   {guestClock{reads: 300 * ms, answers: ms}, clockTries, 0, 0},
		"slow to answer, right": {guestClock{reads: ms, answers: 300 * ms}, clockTries, 0, 0},
		"slow to read, behind":  {guestClock{off: -time.Hour, reads: 300 * ms, answers: ms}, clockTries, 1, 151 * ms},
		"slow at first":         {guestClock{off: -2700 * ms, reads: 300 * ms, quickFrom: 3}, 4, 2, ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := c.clock
				g.t = t
				l := &life{dial: g.dial, log: slog.New(slog.DiscardHandler)}
				l.checkClock(t.Context())
				if g.asked != c.asked || g.set != c.set || g.off.Abs() > c.within {
					t.Errorf("asked %d times, set %d times, %v off; want %d, %d and %v at most", g.asked, g.set, g.off, c.asked, c.set, c.within)
				}
			})
		})
	}
	(&life{log: slog.New(slog.DiscardHandler), dial: func(context.Context, uint32) (net.Conn, error) {
		return nil, errors.New("it has ended")
	}}).checkClock(t.Context())
}
