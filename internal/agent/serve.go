package agent

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agent/program"
	"github.com/holtvm/holt/internal/agentproto"
)

const (
	// maxOperations is how many operations run at once. Each takes a few
	// descriptors and some hundred KiB at most.
	maxOperations = 128
	// requestTimeout is how long the host may take to say what it wants.
	requestTimeout = 30 * time.Second
	// execIdle is how long output of an exec is awaited after its program
	// ended, from processes that it left behind.
	execIdle = 100 * time.Millisecond
	// execLimit is the most that is awaited so, in bytes: the largest pipe
	// that a program gets (/proc/sys/fs/pipe-max-size).
	execLimit = 1 << 20
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
	slots := make(chan struct{}, maxOperations)
	for {
		conn, err := l.accept()
		if err != nil {
			complain("accept operation: %v", err)
			time.Sleep(time.Second) // out of descriptors or memory, perhaps not for long
			continue
		}
		select {
		case slots <- struct{}{}:
			go a.guard(func() {
				defer func() { <-slots }()
				a.operation(conn)
			})()
		default:
			ch := newChannel(conn)
			ch.fail(&agentproto.Error{Kind: agentproto.KindBusy, Message: fmt.Sprintf("%d operations run already", maxOperations)})
			_ = conn.Close()
		}
	}
}

// operation does what the host asks for on one connection.
func (a *agent) operation(conn *os.File) {
	ch := newChannel(conn)
	_ = conn.SetReadDeadline(time.Now().Add(requestTimeout)) // sockets have deadlines
	if err := a.dispatch(ch, conn); err != nil {
		ch.fail(err)
		ch.linger(lingerTimeout)
	}
	_ = conn.Close()
}

func (a *agent) dispatch(ch *channel, conn *os.File) error {
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
	}
	b, err := ch.specification()
	if err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Time{})
	return a.exec(ch, b)
}

// ok answers an operation, and waits until the host has read that.
func (c *channel) ok() error {
	if err := c.out.Frame(agentproto.TypeOK, nil); err != nil {
		return err
	}
	c.linger(lingerTimeout)
	return nil
}

// exec runs a program that the host asked for.
func (a *agent) exec(ch *channel, spec []byte) error {
	p, err := agentproto.DecodeProgram(spec)
	if err != nil {
		return err
	}
	if a.stopping.Load() {
		return &agentproto.Error{Kind: agentproto.KindBusy, Message: "the guest is shutting down"}
	}
	proc, failure := program.Start(a.reaper, p)
	if failure != nil {
		return failure
	}
	if a.stopping.Load() {
		_ = proc.Signal(int(unix.SIGKILL)) // started beside killAll
	}
	s := &stream{ch: ch, proc: proc, idle: execIdle, limit: execLimit}
	_ = s.run() // the host knows
	return nil
}
