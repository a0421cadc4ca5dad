package agent

import (
	"fmt"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

const (
	// maxOperations is how many operations run at once that may take long. Each takes
	// a few descriptors and some hundred KiB at most.
	maxOperations = 512
	// maxConnections leaves room for those that do not, such as a shutdown.
	maxConnections = maxOperations + 64
	// requestTimeout is how long the host may take to say what it wants.
	requestTimeout = 30 * time.Second
)

// serve starts to accept operations from the host.
func (a *agent) serve() error {
	l, err := listenVsock(agentproto.ServicePort)
	if err != nil {
		return err
	}
	go a.guard(func() { a.accept(l) })()
	return nil
}

func (a *agent) accept(l *listener) {
	slots := make(chan struct{}, maxConnections)
	for {
		conn, fd, err := l.accept()
		if err != nil {
			complain("accept operation: %v", err)
			time.Sleep(time.Second) // out of descriptors or memory, perhaps not for long
			continue
		}
		a.reaper.Opened(fd)
		select {
		case slots <- struct{}{}:
			go a.guard(func() {
				defer func() { <-slots }()
				a.operation(conn)
			})()
		default:
			newChannel(conn).fail(tooMany())
			_ = conn.Close()
		}
	}
}

// operation does what the host asks for on one connection.
func (a *agent) operation(conn connection) {
	ch := newChannel(conn)
	_ = conn.SetReadDeadline(time.Now().Add(requestTimeout)) // sockets have deadlines
	if err := a.dispatch(ch); err != nil {
		ch.fail(err)
		ch.linger(lingerTimeout)
	}
	_ = conn.Close()
}

func (a *agent) dispatch(ch *channel) error {
	q, err := ch.in.Request()
	if err != nil {
		return err
	}
	switch q.Op {
	case agentproto.OpPing:
		return ch.ok()
	case agentproto.OpShutdown:
		err := ch.ok()
		a.shutdown(time.Duration(q.GraceMS) * time.Millisecond)
		return err
	case agentproto.OpSessions:
		return report(ch, a.sessions.list())
	case agentproto.OpProcesses:
		list, err := processes("/proc")
		if err != nil {
			return err
		}
		return report(ch, list)
	case agentproto.OpStats:
		stats, err := a.stats("/proc")
		if err != nil {
			return err
		}
		return report(ch, []agentproto.GuestStats{stats})
	case agentproto.OpClock:
		now, err := adjustClock(time.Duration(q.AdjustNS))
		if err != nil {
			return err
		}
		return report(ch, []agentproto.Clock{{NS: now.UnixNano()}})
	case agentproto.OpFreeze:
		return a.freeze(ch)
	}
	b, err := ch.specification()
	if err != nil {
		return err
	}
	if q.Op == agentproto.OpSignal {
		return a.signal(ch, b)
	}
	_ = ch.conn.SetReadDeadline(time.Time{})
	if q.Op == agentproto.OpRenew {
		return a.renew(ch, b)
	}
	defer a.operations.Add(-1)
	if a.operations.Add(1) > maxOperations {
		return tooMany()
	}
	switch q.Op {
	case agentproto.OpAttach:
		return a.attach(ch, b)
	case agentproto.OpFile:
		return a.file(ch, b)
	default:
		return a.exec(ch, b, q.Detached)
	}
}

func tooMany() error {
	return &agentproto.Error{Kind: agentproto.KindBusy, Message: fmt.Sprintf("%d operations run already", maxOperations)}
}

// report answers an operation with one frame for each item.
func report[T any](ch *channel, items []T) error {
	b := agentproto.NewBatch(ch.conn)
	for _, item := range items {
		if err := b.Report(item); err != nil {
			return err
		}
	}
	if err := b.Frame(agentproto.TypeOK, nil); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	ch.linger(lingerTimeout)
	return nil
}

// ok answers an operation, and waits until the host has read that.
func (c *channel) ok() error {
	if err := c.out.Frame(agentproto.TypeOK, nil); err != nil {
		return err
	}
	c.linger(lingerTimeout)
	return nil
}
