package monitor

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// TestAgentCallsOnce: once the agent has called, nothing in the guest can make the
// monitor hold further connections.
func TestAgentCallsOnce(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	l := &pipeListener{conns: make(chan net.Conn, 1), gone: make(chan struct{})}
	l.conns <- ours
	conn, err := new(life).accept(t.Context(), l)
	if err != nil || conn != ours {
		t.Fatalf("accepted %v, %v", conn, err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("the guest can still connect")
	}
}

// TestLifeEndsWhenTheAgentTakesNothing: a client that went away is noticed behind a
// guest that takes no byte of what the client sent before.
func TestLifeEndsWhenTheAgentTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startLife(t)
		go io.Copy(io.Discard, r.client)
		_, agent := r.boot(t)
		if err := agent.Started(agentproto.Started{PID: 1}); err != nil {
			t.Fatal(err)
		}
		if err := agentproto.NewWriter(r.client).Signal(15); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the client has had what the agent sent
		r.client.Close()
		start := time.Now()
		r.wantError(t, "took nothing for 30s")
		if d := time.Since(start); d > agentclient.Patience+5*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

// TestAgentIsGivenTime: patience is for each frame, not for all.
func TestAgentIsGivenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startLife(t)
		in, agent := r.boot(t)
		go io.Copy(io.Discard, r.client)
		if err := agent.Credit(agentproto.StdinWindow); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		go func() {
			w := agentproto.NewWriter(r.client)
			for range 5 {
				if err := w.Frame(agentproto.TypeStdin, []byte("input")); err != nil {
					t.Error(err)
				}
			}
		}()
		for range 5 {
			time.Sleep(agentclient.Patience - time.Second)
			if f, err := in.Next(); err != nil || f.Type != agentproto.TypeStdin {
				t.Fatalf("got %v, %v", f.Type, err)
			}
		}
		if err := agent.Exit(agentproto.Exit{}); err != nil {
			t.Fatal(err)
		}
		r.vm.die(nil)
		if err := <-r.result; err != nil {
			t.Error(err)
		}
	})
}

// TestOutputIsHeldBack: output that nobody reads is not piled up.
func TestOutputIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startLife(t)
		_, agent := r.boot(t)
		sent := 0
		go func() {
			chunk := make([]byte, agentproto.MaxPayload)
			for agent.Frame(agentproto.TypeStdout, chunk) == nil {
				sent += len(chunk)
			}
		}()
		synctest.Wait()
		if most := 3 * agentproto.MaxPayload; sent > most {
			t.Errorf("%d bytes were taken from the guest, and none by the client", sent)
		}
		r.vm.die(nil)
		r.guest.Close()
		r.client.Close()
		<-r.result
	})
}

// TestLifeRefusesFrames: whatever an agent that was taken over sends, the client gets
// nothing of it and the VM ends.
func TestLifeRefusesFrames(t *testing.T) {
	for name, raw := range map[string]string{
		"absurd length":      "\x12\x00\x00\x00\xff\xff\xff\x7f",
		"length over limit":  "\x12\x00\x00\x00\x01\x00\x01\x00" + strings.Repeat("x", agentproto.MaxPayload+1),
		"unknown type":       "\x63\x00\x00\x00\x00\x00\x00\x00",
		"the client's frame": "\x02\x00\x00\x00\x01\x00\x00\x00x",
		"a specification":    "\x01\x00\x00\x00\x02\x00\x00\x00{}",
		"reserved bytes":     "\x12\x00\x01\x00\x01\x00\x00\x00x",
		"terminal control":   "\x1b]0;owned\x07\x1b[2J",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startLife(t)
				got := make(chan []byte, 1)
				go func() {
					b, _ := io.ReadAll(r.client)
					got <- b
				}()
				r.boot(t)
				go io.WriteString(r.guest, raw)
				r.wantError(t, "agent protocol violation")
				if b := <-got; len(b) != 0 {
					t.Errorf("the client got %q", b)
				}
			})
		})
	}
}

// TestConsoleOutputIsBounded: the file gets so much and no more, from the guest's
// console and from its program together, and says so.
func TestConsoleOutputIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	var log strings.Builder
	c, err := newConsole(Spec{ConsoleOutput: path}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	const room = 10_000
	if c.file.room != fileSize {
		t.Errorf("the limit is %d", c.file.room)
	}
	c.file.room = room
	for range 10 * room {
		if n, err := c.Write([]byte("kernel\n")); n != 7 || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
		c.output([]byte("program\n"))
	}
	c.Close()
	b, err := os.ReadFile(path)
	if err != nil || len(b) != room+len(fullMark) || !strings.HasSuffix(string(b), fullMark) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "full") {
		t.Errorf("logged %q", log.String())
	}
	if c.lastLines("") == "" || len(c.tail.String()) > tailSize {
		t.Errorf("%d bytes are kept for messages", len(c.tail.String()))
	}
}

// FuzzConsole shows any bytes of a guest in an error message.
func FuzzConsole(f *testing.F) {
	f.Add([]byte("[ 0.0] Linux version 6.1\r\n[ 1.0] Kernel panic - not syncing: otter\r\n\x1b[2J"), 3)
	f.Add([]byte("Kernel panic - \xff\xfe\u202e\u200b\x00\x9b31m"), 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		c, err := newConsole(Spec{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		cut = min(max(cut, 0), len(b))
		c.Write(b[:cut])
		c.Write(b[cut:])
		lines := c.lastLines("| ")
		if n := strings.Count(lines, "\n"); n > tailLines || len(lines) > tailLines*(4*161+3) {
			t.Errorf("%d lines of %d bytes", n, len(lines))
		}
		for _, r := range strings.ReplaceAll(lines, "\n", "") + c.panicLine() {
			if !unicode.IsPrint(r) {
				t.Errorf("%q came through", r)
			}
		}
	})
}

// TestLifeRefusesNonsense: what no client could make sense of ends the VM.
func TestLifeRefusesNonsense(t *testing.T) {
	for name, send := range map[string]func(w *agentproto.Writer) error{
		"started without sense": func(w *agentproto.Writer) error { return w.Frame(agentproto.TypeStarted, []byte("{")) },
		"started twice": func(w *agentproto.Writer) error {
			return errors.Join(w.Started(agentproto.Started{PID: 2}), w.Started(agentproto.Started{PID: 2}))
		},
		"an answer to nothing": func(w *agentproto.Writer) error { return w.Frame(agentproto.TypeOK, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startLife(t)
				go io.Copy(io.Discard, r.client)
				_, agent := r.boot(t)
				if err := send(agent); err != nil {
					t.Fatal(err)
				}
				r.wantError(t, "protocol violation")
			})
		})
	}
}
