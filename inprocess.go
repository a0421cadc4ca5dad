package holt

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/holtvm/holt/internal/agentbin"
	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/monitor"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/state"
)

// localMonitor is a monitor in this process.
type localMonitor struct {
	conn net.Conn
	done chan struct{} // closed once end and err are set
	end  state.End
	err  error
}

func startInProcess(spec monitorSpec, origin *monitor.OriginFiles, dir *state.Dir, log io.Writer) (_ monitorHandle, _ net.Conn, err error) {
	if origin != nil { // whose files the caller closes when it likes
		if origin, err = origin.Dup(); err != nil {
			return nil, nil, err
		}
		defer func() {
			if err != nil {
				origin.Close()
			}
		}()
	}
	agent, err := agentbin.Find()
	if err != nil {
		return nil, nil, err
	}
	dirs, err := paths.Default()
	if err != nil {
		return nil, nil, err
	}
	ours, theirs, err := streamPair()
	if err != nil {
		return nil, nil, err
	}
	conn, err := net.FileConn(theirs)
	theirs.Close()
	if err != nil {
		ours.Close()
		return nil, nil, fmt.Errorf("connect to the monitor: %w", err)
	}
	listener, err := control.Listen(dir.Path)
	if err != nil {
		ours.Close()
		conn.Close()
		return nil, nil, err
	}
	m := &localMonitor{conn: ours, done: make(chan struct{})}
	logger := monitor.Spec(spec).Logger(log).With("vm", dir.Record.ID)
	go func() {
		defer close(m.done)
		if origin != nil {
			defer origin.Close()
		}
		monitor.Run(context.Background(), monitor.Spec(spec), conn, monitor.Env{Dirs: dirs, Agent: agent, Control: listener, Origin: origin, Log: logger})
		m.end = lastEnd(dir)
		if dir.Record.Kept && !dir.Record.Remove {
			dir.Unlock()
			return
		}
		if m.err = dir.Remove(); m.err == nil && dir.Record.Kept {
			note(eventRemove, dir.Record)
		}
	}()
	return m, ours, nil
}

func (m *localMonitor) kill() { _ = m.conn.Close() }

func (m *localMonitor) wait() (state.End, error) {
	<-m.done
	return m.end, m.err
}
