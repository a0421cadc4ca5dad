package agentclient

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

const helloLine = `{"holt":3,"kernel":"6.1","machine":"x86_64","pid":1}` + "\n"

var spec = agentproto.BootSpec{
	Mounts:  []agentproto.Mount{{Tag: "root", Target: "/"}},
	Program: agentproto.Program{Path: "/bin/true", Stdin: true},
}

// frames returns frames as bytes.
func frames(parts ...any) []byte {
	var b bytes.Buffer
	for i := 0; i < len(parts); i += 2 {
		payload := []byte(parts[i+1].(string))
		b.Write([]byte{byte(parts[i].(agentproto.Type)), 0, 0, 0})
		b.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))))
		b.Write(payload)
	}
	return b.Bytes()
}

// fakeAgent sends script and throws away what it is sent.
func fakeAgent(t *testing.T, script []byte, then func(net.Conn)) net.Conn {
	t.Helper()
	host, guest := net.Pipe()
	t.Cleanup(func() { host.Close(); guest.Close() })
	go func() { _, _ = io.Copy(io.Discard, guest) }()
	go func() {
		_, _ = guest.Write(script)
		if then != nil {
			then(guest)
		}
	}()
	return host
}

func hangUp(c net.Conn) { c.Close() }

// boot boots with a script that follows the hello line.
func boot(t *testing.T, script []byte, out Output) (*Session, error) {
	t.Helper()
	host, guest := net.Pipe()
	t.Cleanup(func() { host.Close() })
	go func() {
		defer guest.Close()
		_, _ = guest.Write([]byte(helloLine))
		_, _ = agentproto.NewReader(guest, agentproto.Host).Next()
		_, _ = guest.Write(script)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return Boot(ctx, host, spec, out)
}

const started, exit0 = `{"pid":2}`, `{"code":0}`

// TestHostileAgent: whatever the guest sends, the outcome is an error of the
// right kind, soon.
func TestHostileAgent(t *testing.T) {
	oversized := []byte{byte(agentproto.TypeStdout), 0, 0, 0, 0xff, 0xff, 0xff, 0x7f}
	credit := binary.LittleEndian.AppendUint32(nil, 1<<31)
	begun := slices.Clip(frames(agentproto.TypeStarted, started))
	tests := []struct {
		name   string
		script []byte
		want   string // part of the error of Boot or Wait
	}{
		{"nothing", nil, ErrLost.Error()},
		{"exit before started", frames(agentproto.TypeExit, exit0), "out of order"},
		{"output before started", frames(agentproto.TypeStdout, "x"), "out of order"},
		{"started twice", append(begun, begun...), "out of order"},
		{"ok in a session", append(begun, frames(agentproto.TypeOK, "")...), "out of order"},
		{"absurd length", append(begun, oversized...), "2147483647 bytes"},
		{"empty output", append(begun, frames(agentproto.TypeStdout, "")...), "0 bytes"},
		{"host's frame", append(begun, frames(agentproto.TypeStdin, "x")...), "unexpected frame"},
		{"absurd credit", append(begun, frames(agentproto.TypeCredit, string(credit))...), "credit of 2147483648"},
		{"creeping credit", append(begun, bytes.Repeat(frames(agentproto.TypeCredit, "\x00\x00\x08\x00"), 3)...), "credit of 1572864"},
		{"absurd exit", append(begun, frames(agentproto.TypeExit, `{"code":4711}`)...), "no exit status"},
		{"gone after started", begun, ErrLost.Error()},
		{"gone within a frame", append(begun, oversized[:5]...), ErrLost.Error()},
		{"terminal control in an error", frames(agentproto.TypeError, `{"kind":"mount","message":"a\u001b]0;x\u0007b"}`), "a?]0;x?b"},
		{"error is no JSON", frames(agentproto.TypeError, "no"), "violation"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := boot(t, tt.script, Output{})
			if err == nil {
				_, err = s.Wait()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if tt.want == ErrLost.Error() && !errors.Is(err, ErrLost) {
				t.Errorf("%v is not ErrLost", err)
			}
		})
	}
}

func TestHelloRefused(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{"holt":9}` + "\n", "the other end speaks 9, this end 3"},
		{"SSH-2.0-x\r\n", "violation"},
		{strings.Repeat("x", 1<<20), "longer than 65536"},
	} {
		_, err := Boot(context.Background(), fakeAgent(t, []byte(tt.in), hangUp), spec, Output{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
}

// TestVersionRefusalIsSent: the agent hears why it is refused.
func TestVersionRefusalIsSent(t *testing.T) {
	host, guest := net.Pipe()
	defer guest.Close()
	go func() { _, _ = Boot(context.Background(), host, spec, Output{}) }()
	if _, err := guest.Write([]byte(`{"holt":7}` + "\n")); err != nil {
		t.Fatal(err)
	}
	f, err := agentproto.NewReader(guest, agentproto.Host).Next()
	if err != nil || f.Type != agentproto.TypeError {
		t.Fatalf("%v, %v", f.Type, err)
	}
	if e, err := agentproto.DecodeError(f.Payload); err != nil || e.Kind != agentproto.KindVersion {
		t.Errorf("%v, %v", e, err)
	}
}

func TestStartErrorIsTyped(t *testing.T) {
	_, err := boot(t, frames(agentproto.TypeError, `{"kind":"not_found","message":"no such thing"}`), Output{})
	var e *agentproto.Error
	if !errors.As(err, &e) || e.Kind != agentproto.KindNotFound || e.Status() != 127 {
		t.Errorf("%v", err)
	}
	_, err = boot(t, frames(agentproto.TypeError, `{"kind":"from_the_future","message":"x"}`), Output{})
	if !errors.As(err, &e) || e.Kind != agentproto.KindInternal || e.Status() != 125 {
		t.Errorf("%v", err)
	}
}

func TestOutputAndExit(t *testing.T) {
	var out, errs bytes.Buffer
	s, err := boot(t, frames(
		agentproto.TypeStarted, `{"pid":57}`, agentproto.TypeStdout, "a", agentproto.TypeStderr, "b",
		agentproto.TypeStdout, "c", agentproto.TypeExit, `{"signal":9}`), Output{&out, &errs})
	if err != nil {
		t.Fatal(err)
	}
	exit, err := s.Wait()
	if err != nil || exit.Status() != 137 || out.String() != "ac" || errs.String() != "b" || s.PID != 57 || s.Hello.Kernel != "6.1" {
		t.Errorf("%+v %v %q %q %+v", exit, err, &out, &errs, s.Hello)
	}
}

func TestFailingWriterEndsTheSession(t *testing.T) {
	full := errors.New("disk full")
	s, err := boot(t, frames(agentproto.TypeStarted, started, agentproto.TypeStdout, "a", agentproto.TypeStdout, "b", agentproto.TypeExit, exit0),
		Output{Stdout: writerFunc(func([]byte) (int, error) { return 0, full })})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wait(); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestStdinWaitsForCredit: not one byte is sent that was not granted.
func TestStdinWaitsForCredit(t *testing.T) {
	host, guest := net.Pipe()
	defer guest.Close()
	received := make(chan int, 100)
	go func() {
		_, _ = guest.Write([]byte(helloLine))
		r := agentproto.NewReader(guest, agentproto.Host)
		_, _ = r.Next()
		_, _ = guest.Write(frames(agentproto.TypeStarted, started, agentproto.TypeCredit, "\x03\x00\x00\x00"))
		for {
			f, err := r.Next()
			if err != nil {
				close(received)
				return
			}
			if f.Type == agentproto.TypeStdin {
				received <- len(f.Payload)
			}
		}
	}()
	s, err := Boot(context.Background(), host, spec, Output{})
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() { _, err := s.Stdin().Write([]byte("12345")); wrote <- err }()
	if n := <-received; n != 3 {
		t.Fatalf("%d bytes, 3 were granted", n)
	}
	select {
	case n := <-received:
		t.Fatalf("%d bytes without credit", n)
	case <-time.After(50 * time.Millisecond):
	}
	if err := s.Signal(15); err != nil { // passes the blocked input
		t.Fatal(err)
	}
	if _, err := guest.Write(frames(agentproto.TypeCredit, "\x05\x00\x00\x00")); err != nil {
		t.Fatal(err)
	}
	if n := <-received; n != 2 {
		t.Fatalf("%d bytes, want the other 2", n)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	// A program that closes its input, or ends, ends a blocked write.
	go func() { _, err := s.Stdin().Write(make([]byte, 10)); wrote <- err }()
	<-received
	if _, err := guest.Write(frames(agentproto.TypeStdinClosed, "")); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
	if err := s.Signal(99); err == nil {
		t.Error("signal 99 is accepted")
	}
}

func TestContextEndsBoot(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := Boot(ctx, fakeAgent(t, []byte(helloLine), nil), spec, Output{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestSimpleOperations(t *testing.T) {
	ctx := context.Background()
	if err := Ping(ctx, fakeAgent(t, frames(agentproto.TypeOK, ""), nil)); err != nil {
		t.Error(err)
	}
	if err := Shutdown(ctx, fakeAgent(t, frames(agentproto.TypeOK, ""), nil), -time.Second); err != nil {
		t.Error(err)
	}
	busy := frames(agentproto.TypeError, `{"kind":"busy","message":"later"}`)
	var e *agentproto.Error
	if err := Ping(ctx, fakeAgent(t, busy, hangUp)); !errors.As(err, &e) || e.Kind != agentproto.KindBusy {
		t.Errorf("error %v", err)
	}
	if err := Ping(ctx, fakeAgent(t, frames(agentproto.TypeStarted, started), nil)); err == nil {
		t.Error("a wrong answer is accepted")
	}
	if err := Ping(ctx, fakeAgent(t, nil, hangUp)); !errors.Is(err, ErrLost) {
		t.Errorf("error %v", err)
	}
}

// TestInvalidSpec: nothing is sent of a specification that is not valid.
func TestInvalidSpec(t *testing.T) {
	_, err := Exec(context.Background(), fakeAgent(t, nil, nil), agentproto.Program{Path: "x\x00"}, Output{})
	if err == nil || !strings.Contains(err.Error(), "path") {
		t.Errorf("error %v", err)
	}
}

func FuzzSession(f *testing.F) {
	f.Add(frames(agentproto.TypeStarted, started, agentproto.TypeStdout, "x", agentproto.TypeExit, exit0))
	f.Add(frames(agentproto.TypeStarted, started, agentproto.TypeCredit, "\x03\x00\x00\x00", agentproto.TypeStdinClosed, ""))
	f.Add(frames(agentproto.TypeError, `{"kind":"mount","message":"x"}`))
	f.Fuzz(func(t *testing.T, script []byte) {
		p := &peer{
			conn: noConn{},
			in:   agentproto.NewReader(iotest.HalfReader(bytes.NewReader(script)), agentproto.Agent),
			out:  agentproto.NewWriter(io.Discard),
		}
		s := newSession(p, spec.Program, Output{})
		if s.begin(context.Background(), func() error { return nil }) != nil {
			return
		}
		exit, err := s.Wait()
		if st := exit.Status(); err == nil && (st < 0 || st > 255) {
			t.Fatalf("exit %+v", exit)
		}
	})
}

// noConn is a connection that can only be closed.
type noConn struct{ net.Conn }

func (noConn) Close() error { return nil }
