package monitor

import (
	"context"
	"errors"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

const (
	// clockSlack is how wrong a clone's clock may be and is left alone.
	clockSlack = time.Millisecond
	// clockSure is how well it has to be known. Of a busy host that takes some exchanges
	// with the agent: the second at once, the next clockWait after it and then at longer
	// intervals, up to clockMaxWait, for clockTime in all.
	clockSure    = 5 * time.Millisecond
	clockWait    = 50 * time.Millisecond
	clockMaxWait = 2 * time.Second
	clockTime    = time.Minute
)

// checkClock makes a clone's clock that of this host. Its agent was given the time before
// the processors ran, and again with the renewal; but of a busy host both may have been
// old when they were read.
func (l *life) checkClock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, clockTime)
	defer cancel()
	known := anyLag
	for wait := time.Duration(0); ; wait = min(max(2*wait, clockWait), clockMaxWait) {
		adjust := known.wrong()
		seen, err := l.askClock(ctx, adjust)
		if _, refused := errors.AsType[*agentproto.Error](err); refused {
			return // the agent is an older one
		}
		if err != nil {
			known = anyLag // whether it was adjusted cannot be told
		} else {
			known = known.less(adjust).and(seen)
		}
		l.log.Debug("the guest's clock", "set by", adjust, "least behind", known.least, "most", known.most, "error", err)
		if known.wrong() == 0 && known.unsure() <= clockSure {
			return
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// askClock adds adjust to the guest's clock and then looks by how much it is behind this
// host's.
func (l *life) askClock(ctx context.Context, adjust time.Duration) (lag, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	conn, err := l.dial(ctx, agentproto.ServicePort)
	if err != nil {
		return anyLag, err
	}
	asked := time.Now()
	guest, err := agentclient.Clock(ctx, conn, adjust)
	return lag{asked.Sub(guest), time.Since(guest)}, err
}

// lag is what is known of how much a clock is behind: this at least, and this at most.
type lag struct{ least, most time.Duration }

// anyLag is a clock of which nothing is known.
var anyLag = lag{-100 * 366 * 24 * time.Hour, 100 * 366 * 24 * time.Hour}

// unsure is how wrong the clock may be that is believed to be behind by the middle.
func (l lag) unsure() time.Duration { return (l.most - l.least) / 2 }

// wrong returns by how much the clock is to be adjusted: 0 if it may be right.
func (l lag) wrong() time.Duration {
	if l.least <= clockSlack && l.most >= -clockSlack {
		return 0
	}
	return l.least + l.unsure()
}

// less is what is known once the clock was adjusted.
func (l lag) less(adjust time.Duration) lag { return lag{l.least - adjust, l.most - adjust} }

// and is what is known after a later look. What contradicts it is forgotten: somebody has
// set a clock.
func (l lag) and(seen lag) lag {
	both := lag{max(l.least, seen.least), min(l.most, seen.most)}
	if both.least > both.most {
		return seen
	}
	return both
}
