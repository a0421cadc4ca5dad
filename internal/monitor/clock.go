package monitor

import (
	"context"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

const (
	// clockSlack is how wrong a clone's clock may be and is left alone.
	clockSlack = time.Millisecond
	// A guest that takes longer to say its time is asked again, clockTries times in all:
	// how wrong it is cannot be told better than that.
	clockAnswer = 10 * time.Millisecond
	clockTries  = 5
)

// checkClock makes a clone's clock that of this host. Its agent was given the time before
// the processors ran, and again with the renewal; but of a busy host both may have been
// old when they were read.
func (l *life) checkClock(ctx context.Context) {
	var adjust time.Duration
	for try := range clockTries {
		behind, unsure, err := l.askClock(ctx, adjust)
		if err != nil {
			l.log.Debug("the guest's clock is not known", "error", err)
			return
		}
		if adjust = 0; behind.Abs() > unsure+clockSlack {
			l.log.Debug("the guest's clock is wrong", "behind", behind, "unsure", unsure)
			adjust = behind
			continue
		}
		if unsure <= clockAnswer/2 {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond << try):
		case <-ctx.Done():
			return
		}
	}
}

// askClock adds adjust to the guest's clock and then looks by how much it is behind this
// host's, give or take unsure.
func (l *life) askClock(ctx context.Context, adjust time.Duration) (behind, unsure time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	conn, err := l.dial(ctx, agentproto.ServicePort)
	if err != nil {
		return 0, 0, err
	}
	asked := time.Now()
	guest, err := agentclient.Clock(ctx, conn, adjust)
	unsure = time.Since(asked) / 2
	return asked.Add(unsure).Sub(guest), unsure, err
}
