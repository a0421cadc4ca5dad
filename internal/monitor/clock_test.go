package monitor

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

// guestClock is the clock of a guest.
type guestClock struct {
	off   time.Duration // it is ahead of the host's
	takes []exchange    // one for each question, and the last for all others
	asked int
	set   int
	t     *testing.T
}

// exchange is how long it takes to read a question and to answer it.
type exchange struct {
	read, answer time.Duration
	refuse, lose bool // instead of the answer, which is lost after the clock was set
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
		take := g.takes[min(g.asked, len(g.takes)-1)]
		g.asked++
		time.Sleep(take.read)
		if q.AdjustNS != 0 {
			g.set++
			g.off += time.Duration(q.AdjustNS)
		}
		out := agentproto.NewBatch(guest)
		_ = out.Report(agentproto.Clock{NS: time.Now().Add(g.off).UnixNano()})
		_ = out.Frame(agentproto.TypeOK, nil)
		time.Sleep(take.answer)
		switch {
		case take.refuse:
			_ = agentproto.NewWriter(guest).Error(&agentproto.Error{Kind: agentproto.KindProtocol, Message: "no such operation"})
		case !take.lose:
			_ = out.Flush()
		}
	}()
	return host, nil
}

// TestCheckClock: a clone's clock is set if it is wrong for certain, whichever way, and
// looked at until that can be told.
func TestCheckClock(t *testing.T) {
	const ms = time.Millisecond
	quick := exchange{read: ms, answer: ms}
	slowRead := exchange{read: 300 * ms, answer: ms}
	slowAnswer := exchange{read: ms, answer: 300 * ms}
	for name, c := range map[string]struct {
		off        time.Duration
		takes      []exchange
		asked, set int
		within     time.Duration // of the host's clock, at the end
		after      time.Duration // it is given up
	}{
		"right":                        {ms / 2, []exchange{quick}, 1, 0, ms, 0},
		"behind":                       {-2700 * ms, []exchange{quick}, 2, 1, ms, 0},
		"ahead":                        {2700 * ms, []exchange{quick}, 2, 1, ms, 0},
		"slow to read, right":          {0, []exchange{slowRead}, 0, 0, 0, clockTime},
		"slow to answer, right":        {0, []exchange{slowAnswer}, 0, 0, 0, clockTime},
		"slow to read, behind":         {-time.Hour, []exchange{slowRead}, 0, 1, 151 * ms, clockTime},
		"slow at first":                {-2700 * ms, []exchange{slowRead, slowRead, slowRead, quick}, 5, 2, ms, 0},
		"slow for long":                {-59 * ms, append(slices.Repeat([]exchange{slowRead}, 12), quick), 14, 1, ms, 0},
		"slow one way, then the other": {-59 * ms, []exchange{slowRead, slowAnswer}, 3, 1, 6 * ms, 0},
		"an answer is lost":            {-2700 * ms, []exchange{quick, {lose: true}, quick}, 3, 1, ms, 0},
		"it does not know how":         {-2700 * ms, []exchange{{refuse: true}}, 1, 0, 2700 * ms, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := guestClock{off: c.off, takes: c.takes, t: t}
				l := &life{dial: g.dial, log: slog.New(slog.DiscardHandler)}
				begin := time.Now()
				l.checkClock(t.Context())
				took := time.Since(begin)
				if c.after == 0 && g.asked != c.asked || g.set != c.set || g.off.Abs() > c.within {
					t.Errorf("asked %d times, set %d times, %v off; want %d, %d and %v at most", g.asked, g.set, g.off, c.asked, c.set, c.within)
				}
				if c.after != 0 && took != c.after || c.after == 0 && took >= clockTime {
					t.Errorf("it was looked at for %v", took)
				}
			})
		})
	}
}

// TestCheckClockOfNobody: a VM that has ended is not asked for ever.
func TestCheckClockOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin, asked := time.Now(), 0
		(&life{log: slog.New(slog.DiscardHandler), dial: func(context.Context, uint32) (net.Conn, error) {
			asked++
			return nil, errors.New("it has ended")
		}}).checkClock(ctx)
		if took := time.Since(begin); took != 10*time.Second || asked > 20 {
			t.Errorf("asked %d times in %v", asked, took)
		}
	})
}
