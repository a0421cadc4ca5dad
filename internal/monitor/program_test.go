package monitor

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// stage is a program with the test in the agent's place.
type stage struct {
	*program

	agent  *agentproto.Writer // what the agent says
	frames chan string        // what the agent hears
	last   chan error
	conn   net.Conn
}

func newStage(t *testing.T) *stage {
	t.Helper()
	ours, agents := net.Pipe()
	s := &stage{program: newProgram(&console{}, nil), agent: agentproto.NewWriter(agents), frames: make(chan string, 100), last: make(chan error, 1), conn: agents}
	s.take(agentclient.NewWriter(ours))
	go func() {
		last, err := s.carry(agentproto.NewReader(ours, agentproto.Agent), func() {})
		s.finish(last)
		s.last <- err
	}()
	go func() {
		in := agentproto.NewReader(agents, agentproto.Host)
		for {
			f, err := in.Next()
			if err != nil {
				close(s.frames)
				return
			}
			s.frames <- string(rune('0'+f.Type)) + string(f.Payload)
		}
	}()
	t.Cleanup(func() { ours.Close(); agents.Close() })
	return s
}

// join connects a client, and returns it and what follow returns.
func (s *stage) join(t *testing.T, input bool, out io.Writer) (*agentclient.Session, <-chan error) {
	t.Helper()
	ours, theirs := net.Pipe()
	c := newClient(theirs, false)
	gone := make(chan error, 1)
	go func() {
		if err := s.connect(c, input); err != nil {
			gone <- err
			theirs.Close()
			return
		}
		gone <- s.follow(c, agentproto.NewReader(theirs, agentproto.Host))
	}()
	session, err := agentclient.Attach(t.Context(), ours, agentproto.Program{Stdin: input}, agentclient.Output{Stdout: out})
	if err != nil {
		t.Fatal(err)
	}
	return session, gone
}

// TestManyClients: all see the output from when they come on, and one is the input.
func TestManyClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.agent.Started(agentproto.Started{PID: 7})
		s.agent.Credit(100)
		s.agent.Frame(agentproto.TypeStdout, []byte("early "))
		synctest.Wait()
		var a, b bytes.Buffer
		first, _ := s.join(t, true, &a)
		second, _ := s.join(t, false, &b)
		if first.PID != 7 || second.PID != 7 {
			t.Errorf("process ids %d, %d", first.PID, second.PID)
		}
		s.agent.Frame(agentproto.TypeStdout, []byte("late"))
		go first.Stdin().Write([]byte("typed"))
		if f := <-s.frames; f != "2typed" {
			t.Errorf("the agent heard %q", f)
		}
		if err := s.connect(newClient(nil, false), true); !errors.Is(err, errInputTaken) {
			t.Errorf("a second input: %v", err)
		}
		s.agent.Exit(agentproto.Exit{Code: 3})
		for _, session := range []*agentclient.Session{first, second} {
			if exit, err := session.Wait(); err != nil || exit.Code != 3 {
				t.Errorf("exit %+v, %v", exit, err)
			}
		}
		if a.String() != "late" || b.String() != "late" {
			t.Errorf("they saw %q and %q", &a, &b)
		}
		if err := s.connect(newClient(nil, false), false); err == nil {
			t.Error("a program that has ended takes clients")
		}
	})
}

// TestInputPassesOn: what the first input was granted and did not use, the next one is
// granted; that one went away is nothing to the program.
func TestInputPassesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.agent.Started(agentproto.Started{PID: 7})
		s.agent.Credit(10)
		first, gone := s.join(t, true, nil)
		go first.Stdin().Write([]byte("1234"))
		<-s.frames
		first.Close()
		if err := <-gone; !errors.Is(err, errClientGone) {
			t.Errorf("it left with %v", err)
		}
		second, _ := s.join(t, true, nil)
		go second.Stdin().Write([]byte("abcdefghij"))
		if f := <-s.frames; f != "2abcdef" {
			t.Errorf("the agent heard %q, the credit was 6", f)
		}
		s.agent.Credit(4)
		if f := <-s.frames; f != "2ghij" {
			t.Errorf("the agent heard %q", f)
		}
		go second.Stdin().Close()
		if f := <-s.frames; f != "3" {
			t.Errorf("the agent heard %q instead of the end", f)
		}
		// The third one's end is one too many, and nothing to anybody.
		second.Close()
		synctest.Wait()
		third, _ := s.join(t, true, nil)
		third.Stdin().Close()
		if err := third.Signal(15); err != nil {
			t.Fatal(err)
		}
		if f := <-s.frames; f[0] != '5' {
			t.Errorf("the agent heard %q instead of a signal", f)
		}
	})
}

// TestUngrantedInput: a client that sends more than it may is let go.
func TestUngrantedInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.agent.Started(agentproto.Started{PID: 7})
		for name, frame := range map[string]agentproto.Frame{
			"ungranted": {Type: agentproto.TypeStdin, Payload: []byte("x")},
			"boot":      {Type: agentproto.TypeSpec, Payload: []byte("{}")},
		} {
			ours, theirs := net.Pipe()
			go io.Copy(io.Discard, ours)
			c := newClient(theirs, false)
			if err := s.connect(c, true); err != nil {
				t.Fatal(err)
			}
			go agentproto.NewWriter(ours).Frame(frame.Type, frame.Payload)
			if err := s.follow(c, agentproto.NewReader(theirs, agentproto.Host)); !errors.Is(err, errClientGone) {
				t.Errorf("%s: %v", name, err)
			}
			theirs.Close()
		}
		if len(s.frames) != 0 {
			t.Errorf("the agent heard %q", <-s.frames)
		}
	})
}

// TestSlowClientIsLetGo: who does not read holds the program back for so long and no
// longer.
func TestSlowClientIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.agent.Started(agentproto.Started{PID: 7})
		var out bytes.Buffer
		reads, _ := s.join(t, false, &out)
		ours, theirs := net.Pipe()
		defer ours.Close()
		go agentproto.NewReader(ours, agentproto.Agent).Next() // started, and nothing more
		if err := s.connect(newClient(theirs, false), false); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		s.agent.Frame(agentproto.TypeStdout, []byte("one"))
		s.agent.Frame(agentproto.TypeStdout, []byte("two"))
		s.agent.Exit(agentproto.Exit{})
		if _, err := reads.Wait(); err != nil || out.String() != "onetwo" {
			t.Errorf("the other saw %q, %v", &out, err)
		}
		if d := time.Since(start); d != agentclient.Patience {
			t.Errorf("the program was held back for %v", d)
		}
	})
}

// TestCreditIsBounded: an agent that was taken over cannot make the monitor believe in
// any amount.
func TestCreditIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		for range 5 {
			go s.agent.Credit(agentproto.MaxWindow / 2)
		}
		if err := <-s.last; err == nil || !strings.Contains(err.Error(), "credit of") {
			t.Errorf("error %v", err)
		}
	})
}
