package agent

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

// freeze tells the host where the mailbox is, and holds all programs from when the host
// has closed the connection, which says that it knows: while they are held nothing could
// be sent, for the kernel sends with a thread that gets no processor either.
func (a *agent) freeze(ch *channel) error {
	if !a.freezing.CompareAndSwap(false, true) {
		return &agentproto.Error{Kind: agentproto.KindBusy, Message: "the guest's programs are being held already"}
	}
	defer a.freezing.Store(false)
	h, err := a.newHold()
	if err != nil {
		return fmt.Errorf("hold all programs: %w", err)
	}
	defer h.close()
	b := agentproto.NewBatch(ch.conn)
	if err := b.Report(agentproto.Freeze{Addr: h.addr}); err != nil {
		return err
	}
	if err := b.Frame(agentproto.TypeOK, nil); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	_ = ch.conn.SetReadDeadline(time.Now().Add(lingerTimeout)) // sockets have deadlines
	if _, err := ch.in.Next(); !errors.Is(err, io.EOF) {
		return errors.New("hold all programs: the host does not close the connection")
	}
	_ = ch.conn.Close()
	defer suspendThrottling(throttlingFile)()
	if err := h.run(); err != nil {
		complain("hold all programs: %v", err)
	}
	return nil
}
