package holt

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/state"
)

// fakeGuest is a VM that runs, as far as clients can tell: this test is its monitor and
// its agent.
type fakeGuest struct {
	vm    *VM
	dir   *state.Dir
	ended chan struct{} // closed when the VM has ended
	end   state.End
	once  sync.Once

	killed   chan string // programs whose connection went before their exit
	signals  chan agentproto.SessionSignal
	detached chan string // programs that were detached
	specs    chan []byte // of the program "spec"
	stalled  chan int    // how much the program "stall" wrote until nobody took more

	mu    sync.Mutex
	conns []net.Conn
}

func newFakeGuest(t *testing.T) *fakeGuest {
	t.Helper()
	t.Setenv("HOLT_HOME", t.TempDir())
	g := &fakeGuest{
		vm: keptVM(t, "fake"), ended: make(chan struct{}), killed: make(chan string, 100),
		signals: make(chan agentproto.SessionSignal, 1), detached: make(chan string, 1), specs: make(chan []byte, 1), stalled: make(chan int, 1),
	}
	var err error
	if g.dir, err = state.Load(g.vm.dir.Path); err == nil {
		err = g.dir.TryLock()
	}
	if err == nil {
		err = g.dir.SetStatus(state.Status{State: state.Running, Monitor: os.Getpid()})
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := control.Listen(g.dir.Path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+control.PathAgent, g.upgrade)
	mux.HandleFunc("GET "+control.PathWait, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-g.ended:
			_ = json.NewEncoder(w).Encode(g.end)
		case <-r.Context().Done():
		}
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		g.die(state.End{})
	})
	return g
}

// die ends the VM: connections break, and the reason is told.
func (g *fakeGuest) die(end state.End) {
	g.once.Do(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, conn := range g.conns {
			conn.Close()
		}
		g.end = end
		_ = g.dir.SetStatus(state.Status{State: state.Stopped, End: &end})
		close(g.ended)
		g.dir.Unlock()
	})
}

// upgrade is the monitor's, and connects to the agent below.
func (g *fakeGuest) upgrade(w http.ResponseWriter, _ *http.Request) {
	select {
	case <-g.ended:
		http.Error(w, "it has ended", http.StatusConflict)
		return
	default:
	}
	conn, err := control.Accept(w)
	if err != nil {
		return
	}
	defer conn.Close()
	g.mu.Lock()
	g.conns = append(g.conns, conn)
	g.mu.Unlock()
	c := &fakeChannel{g, agentproto.NewReader(conn, agentproto.Host), agentproto.NewWriter(conn), conn}
	if err := c.operation(); err != nil {
		e := &agentproto.Error{Kind: agentproto.KindInternal, Message: err.Error()}
		_ = errors.As(err, &e)
		_ = c.out.Error(e)
	}
}

// fakeChannel is one operation of the agent.
type fakeChannel struct {
	guest *fakeGuest
	in    *agentproto.Reader
	out   *agentproto.Writer
	conn  net.Conn
}

func (c *fakeChannel) operation() error {
	q, err := c.in.Request()
	if err != nil {
		return err
	}
	report := func(v any) {
		b, _ := json.Marshal(v)
		_ = c.out.Frame(agentproto.TypeReport, b)
	}
	switch q.Op {
	case agentproto.OpPing:
	case agentproto.OpSessions:
		report(agentproto.Session{ID: "1", PID: 70, Argv: []string{"ma\x1bke"}, TTY: true, Running: true, StartedNS: 5})
		report(agentproto.Session{ID: "2", PID: 71, Argv: []string{"sh"}, Exit: &agentproto.Exit{Signal: 9, OOM: true}})
	case agentproto.OpProcesses:
		report(agentproto.ProcessInfo{PID: 9, PPID: 1, User: "root", State: "S", CPUMS: 1500, RSSBytes: 4096, StartedNS: 7, Command: "sh"})
	default:
		f, err := c.in.Next()
		if err != nil {
			return err
		}
		return c.specified(q, f.Payload)
	}
	return c.out.Frame(agentproto.TypeOK, nil)
}

// specified does an operation that has a specification.
func (c *fakeChannel) specified(q agentproto.Request, spec []byte) error {
	gone := &agentproto.Error{Kind: agentproto.KindNotFound, Message: "there is no session 77 in the guest"}
	switch q.Op {
	case agentproto.OpSignal:
		s, err := agentproto.DecodeSessionSignal(spec)
		if err == nil && s.Session == "77" {
			err = gone
		}
		if err != nil {
			return err
		}
		c.guest.signals <- s
		return c.out.Frame(agentproto.TypeOK, nil)
	case agentproto.OpAttach:
		a, err := agentproto.DecodeAttach(spec)
		if err == nil && a.Session == "77" {
			err = gone
		}
		if err != nil {
			return err
		}
		return c.program(agentproto.Program{Path: "cat"}, a.Session)
	}
	p, err := agentproto.DecodeProgram(spec)
	if err != nil {
		return err
	}
	switch p.Path {
	case "missing", "python3":
		return &agentproto.Error{Kind: agentproto.KindNotFound, Message: p.Path + ": not found in the guest's PATH"}
	case "plain":
		return &agentproto.Error{Kind: agentproto.KindNotExecutable, Message: "plain: not executable"}
	case "spec":
		c.guest.specs <- spec
	}
	if q.Detached {
		_ = c.out.Started(agentproto.Started{PID: 57, Session: "3"})
		return c.out.Frame(agentproto.TypeOK, nil)
	}
	return c.program(p, "3")
}

// program plays a program.
func (c *fakeChannel) program(p agentproto.Program, session string) error {
	_ = c.out.Started(agentproto.Started{PID: 57, Session: session})
	say := func(t agentproto.Type, text string) { _ = c.out.Frame(t, []byte(text)) }
	exit := agentproto.Exit{}
	switch p.Path {
	case "both":
		say(agentproto.TypeStdout, "out\n")
		say(agentproto.TypeStderr, "err\n")
	case "fail", "python":
		say(agentproto.TypeStdout, strings.Join(p.Args, " "))
		say(agentproto.TypeStderr, "what went wrong")
		exit.Code = 3
	case "slow":
		exit = agentproto.Exit{Signal: 9, Timeout: true}
	case "chatter":
		for i := range 1000 {
			say(agentproto.TypeStderr, strings.Repeat(strconv.Itoa(i%10), 1000))
		}
		exit.Code = 1
	case "yes":
		block := make([]byte, agentproto.MaxPayload)
		for c.out.Frame(agentproto.TypeStdout, block) == nil {
		}
		c.guest.killed <- p.Path
		return nil
	case "stall":
		block := make([]byte, agentproto.MaxPayload)
		for n := 0; ; n += len(block) {
			_ = c.conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			if err := c.out.Frame(agentproto.TypeStdout, block); err != nil {
				c.guest.stalled <- n
				return err
			}
		}
	case "cat":
		_ = c.out.Credit(1 << 18)
		return c.cat()
	}
	return c.out.Exit(exit)
}

// cat gives input back. A window's size is told, and a signal ends it.
func (c *fakeChannel) cat() error {
	for {
		f, err := c.in.Next()
		if err != nil {
			c.guest.killed <- "cat"
			return err
		}
		switch f.Type {
		case agentproto.TypeStdin:
			_ = c.out.Credit(uint32(len(f.Payload)))
			_ = c.out.Frame(agentproto.TypeStdout, f.Payload)
		case agentproto.TypeStdinEOF:
			return c.out.Exit(agentproto.Exit{})
		case agentproto.TypeWinsize:
			size := f.WindowSize()
			_ = c.out.Frame(agentproto.TypeStdout, []byte(strconv.Itoa(int(size.Rows))+"x"+strconv.Itoa(int(size.Cols))+"\n"))
		case agentproto.TypeSignal:
			n, err := f.Signal()
			if err != nil {
				return err
			}
			return c.out.Exit(agentproto.Exit{Signal: n})
		case agentproto.TypeDetach:
			c.guest.detached <- "cat"
			return c.out.Frame(agentproto.TypeOK, nil)
		}
	}
}
