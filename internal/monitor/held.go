package monitor

import (
	"bytes"
	"io"
	"net"

	"github.com/holtvm/holt/internal/agentproto"
)

// heldProgram stands for the main program of a guest that got ready and runs none, so
// that it can be saved: it has started, as process 1, prints nothing, and does not
// end.
func heldProgram() (net.Conn, *agentproto.Reader, error) {
	var started bytes.Buffer
	if err := agentproto.NewWriter(&started).Started(agentproto.Started{PID: 1, Session: agentproto.MainSession}); err != nil {
		return nil, nil, err
	}
	ours, theirs := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, theirs) }() // it ends when ours is closed
	return ours, agentproto.NewReader(io.MultiReader(&started, ours), agentproto.Agent), nil
}
