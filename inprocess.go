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
)

// localMonitor is a monitor in this process.
type localMonitor struct {
	*control.Client

	stopped context.CancelFunc
	conn    net.Conn
	done    chan struct{}
}

func startInProcess(spec monitorSpec, log io.Writer) (monitorHandle, net.Conn, error) {
	agent, err := agentbin.Find()
	if err != nil {
		return nil, nil, err
	}
	dirs, err := paths.Default()
	if err != nil {
		return nil, nil, err
	}
	dir, err := makeStateDir(spec)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs, err := streamPair()
	if err != nil {
		_ = dir.Remove()
		return nil, nil, err
	}
	conn, err := net.FileConn(theirs)
	theirs.Close()
	if err != nil {
		ours.Close()
		_ = dir.Remove()
		return nil, nil, fmt.Errorf("connect to the monitor: %w", err)
	}
	listener, err := control.Listen(dir.Path)
	if err != nil {
		ours.Close()
		conn.Close()
		_ = dir.Remove()
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &localMonitor{Client: control.NewClient(dir.Path), stopped: cancel, conn: ours, done: make(chan struct{})}
	logger := monitor.Spec(spec).Logger(log)
	go func() {
		defer close(m.done)
		defer cancel()
		monitor.Run(ctx, monitor.Spec(spec), conn, monitor.Env{Dirs: dirs, Agent: agent, Control: listener, Log: logger.With("vm", dir.Info.ID)})
		if err := dir.Remove(); err != nil {
			logger.Warn("the VM's directory is left behind", "error", err)
		}
	}()
	return m, ours, nil
}

func (m *localMonitor) stop() { m.stopped() }

func (m *localMonitor) kill() { _ = m.conn.Close() }

func (m *localMonitor) wait() error {
	<-m.done
	return nil
}
