package monitor

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/state"
)

const (
	// dialTime is how long the guest may take to accept a connection.
	dialTime = 10 * time.Second
	// spliceBuffer is what is copied at once, in bytes; a connection to the agent
	// holds two of it.
	spliceBuffer = 32 << 10
)

// serveAgent connects a client with the agent. What they say passes unseen.
func (i *instance) serveAgent(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), dialTime)
	defer cancel()
	agent, err := i.toAgent(ctx)
	if err != nil {
		refuse(w, err)
		return
	}
	defer agent.Close()
	conn, err := control.Accept(w)
	if err != nil {
		return // nobody is there to be told
	}
	defer conn.Close()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.CopyBuffer(plain{agent}, plain{conn}, make([]byte, spliceBuffer))
		_ = agent.Close() // the client is gone: so is what it asked for
	})
	both.Go(func() {
		_, _ = io.CopyBuffer(plain{conn}, plain{agent}, make([]byte, spliceBuffer))
		_ = conn.Close()
	})
	both.Wait()
}

// plain hides what a connection can do besides, so that copies use the buffer that
// they are given.
type plain struct{ io.ReadWriter }

// serveAttach connects a client with the main program's streams.
func (i *instance) serveAttach(w http.ResponseWriter, r *http.Request) {
	if err := i.check(state.Attach); err != nil {
		refuse(w, err)
		return
	}
	input := r.URL.Query().Get(control.ParamStdin) != "" && i.spec.Program.Stdin
	conn, err := control.Accept(w)
	if err != nil {
		return
	}
	defer conn.Close()
	c := newClient(conn, false)
	if err := i.program.connect(c, input); err != nil {
		kind := agentproto.KindInternal
		if errors.Is(err, errInputTaken) {
			kind = agentproto.KindBusy
		}
		_ = c.out.Error(&agentproto.Error{Kind: kind, Message: err.Error()})
		return
	}
	_ = i.program.follow(c, agentproto.NewReader(conn, agentproto.Host)) // it may go at any time
}
