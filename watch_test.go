package holt

import (
	"errors"
	"net"
	"slices"
	"testing"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/agenttest"
)

func TestWatch(t *testing.T) {
	ended := make(chan struct{}, 2)
	vm, _ := runningVM(t, func(conn net.Conn) {
		in, out := agentproto.NewReader(conn, agentproto.Host), agentproto.NewBatch(conn)
		q, err := agenttest.Request(in)
		if err != nil || q.Op != agentproto.FileWatch || q.Path != "/srv" || !q.Recursive {
			t.Errorf("%+v, %v", q, err)
		}
		for _, e := range []agentproto.WatchEvent{
			{Path: "/srv", Op: agentproto.WatchReady},
			{Path: "/srv/\xff\n", Op: agentproto.WatchCreate},
			{Path: "/srv/d/f", Op: agentproto.WatchWrite},
			{Path: "/etc/passwd", Op: agentproto.WatchWrite},
		} {
			_ = out.Report(e)
		}
		_ = out.Flush()
		_, _ = in.Next() // the client closes
		ended <- struct{}{}
	})
	all := []FileEvent{{"/srv", FileReady}, {"/srv/\xff\n", FileCreate}, {"/srv/d/f", FileWrite}}
	for most := 1; most <= 4; most += 3 {
		var got []FileEvent
		var err error
		for e, werr := range vm.Watch(t.Context(), "srv/", true) {
			if err = werr; err == nil {
				got = append(got, e)
			}
			if len(got) == most {
				break
			}
		}
		want := all[:min(most, len(all))]
		_, outside := errors.AsType[*agentproto.ViolationError](err)
		if !slices.Equal(got, want) || outside != (most > len(all)) {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		<-ended // leaving the loop ends the watch
	}
}
