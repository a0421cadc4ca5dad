package agent

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agent/program"
	"github.com/holtvm/holt/internal/agentproto"
)

const (
	// outputChunk is how much output is sent at once: a frame of it is exactly the
	// largest packet of Linux's virtio-vsock driver.
	outputChunk = agentproto.MaxPayload - agentproto.HeaderSize
	// firstChunk is how much is read at once of a program that says little, in bytes.
	firstChunk = 4 << 10
	// lingerTimeout is how long the host may take to close a finished connection.
	lingerTimeout = 10 * time.Second
)

// stream is a running program with its streams. It is the same for the main program
// and for exec. At any time one channel carries the streams, or none; then the last
// output is kept.
type stream struct {
	proc *program.Process
	// id is what Started calls it.
	id string
	// timeout, if not 0, is how long the program may run.
	timeout time.Duration
	// ended, if set, is called when the program has ended, before the rest of
	// its output is sent; flushed, if set, after that and before its exit.
	ended, flushed func()
	// idle and limit say when to stop waiting for the end of the output after
	// the program ended, since others may hold its pipes open: after idle
	// without output, or after limit bytes (0: no limit). What the program
	// itself wrote is in the pipe by then, and less than limit.
	idle  time.Duration
	limit int64

	stdin    *stdinBuffer
	draining atomic.Bool
	done     chan struct{} // closed when exit is set, and sent to whoever is connected

	// mu is held while frames are written. So they are in order, and whoever connects
	// misses none.
	mu       sync.Mutex
	ch       *channel // who is connected
	kept     backlog  // what was not sent to anybody
	detached bool     // the program does without a connection
	over     bool     // exit is set
	exit     agentproto.Exit
	endedAt  time.Time // when that was
	reported bool      // somebody was sent the exit
}

func newStream(proc *program.Process, id string, spec agentproto.Program) *stream {
	return &stream{
		proc: proc, id: id, timeout: time.Duration(spec.TimeoutMS) * time.Millisecond,
		stdin: newStdinBuffer(proc.Stdin != nil),
		done:  make(chan struct{}),
	}
}

// run carries the streams until the program has ended and its output with it.
func (s *stream) run() {
	var input, outputs sync.WaitGroup
	if s.proc.Stdin != nil {
		input.Go(s.feed)
	}
	outputs.Go(func() { s.carry(agentproto.TypeStdout, s.proc.Stdout) })
	if s.proc.Stderr != nil {
		outputs.Go(func() { s.carry(agentproto.TypeStderr, s.proc.Stderr) })
	}

	exit := s.await()
	if s.ended != nil {
		s.ended()
	}
	s.drain()
	outputs.Wait()
	s.stdin.stop()
	s.proc.Unblock()
	input.Wait()
	s.proc.Close()
	if s.flushed != nil {
		s.flushed()
	}
	s.finish(exit)
	close(s.done)
}

// await waits for the program's end.
func (s *stream) await() agentproto.Exit {
	var timeout <-chan time.Time
	if s.timeout > 0 {
		timeout = time.After(s.timeout)
	}
	late := false
	select {
	case <-s.proc.Done():
	case <-timeout:
		late = s.proc.Kill() == nil // else it ended this moment
		<-s.proc.Done()
	}
	exit := s.proc.Exit()
	if exit.Signal == int(unix.SIGKILL) {
		exit.Timeout = late
		exit.OOM = !s.proc.Killed() && killedForMemory("/dev/kmsg", s.proc.PID)
	}
	return exit
}

// finish sets the exit, and sends it to whoever is connected.
func (s *stream) finish(exit agentproto.Exit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exit, s.over, s.endedAt = exit, true, time.Now()
	s.report()
}

// report sends the exit to whoever is connected, who closes after having read it. The
// caller holds mu.
func (s *stream) report() {
	s.reported = s.deliver(func(out *agentproto.Writer) error { return out.Exit(s.exit) })
	if s.reported {
		_ = s.ch.conn.SetReadDeadline(time.Now().Add(lingerTimeout)) // sockets have deadlines
	}
}

// deliver writes to whoever is connected, and reports whether somebody is. The
// caller holds mu.
func (s *stream) deliver(write func(*agentproto.Writer) error) bool {
	if s.ch == nil {
		return false
	}
	err := write(s.ch.out)
	if err == nil {
		return true
	}
	_ = s.ch.broke(err) // its receive notices
	s.ch = nil
	return false
}

// send sends a frame of output, or keeps it.
func (s *stream) send(t agentproto.Type, payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.deliver(func(out *agentproto.Writer) error { return out.Frame(t, payload) }) {
		s.kept.add(t, payload)
	}
}

// feed gives the program its input.
func (s *stream) feed() {
	partial := false
	for {
		b := s.stdin.next()
		if b == nil {
			break
		}
		partial = b[len(b)-1] != '\n'
		if _, err := s.proc.Stdin.Write(b); err != nil {
			s.refuseInput()
			return
		}
		s.took(len(b))
	}
	_ = s.proc.EndStdin(partial) // a program that has ended needs no end
}

// took frees n bytes of input, and lets the host send more.
func (s *stream) took(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if grant := s.stdin.took(n); grant > 0 {
		s.deliver(func(out *agentproto.Writer) error { return out.Credit(grant) })
	}
}

// refuseInput says that the program takes no more input.
func (s *stream) refuseInput() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stdin.stop()
	s.deliver(sendStdinClosed)
}

func sendStdinClosed(out *agentproto.Writer) error { return out.Frame(agentproto.TypeStdinClosed, nil) }

// carry sends what the program writes to one of its streams. Backpressure is
// the connection's: while the host does not read, the program's writes block.
func (s *stream) carry(t agentproto.Type, from *os.File) {
	buf := make([]byte, firstChunk)
	left := s.limit
	for {
		draining := s.draining.Load()
		if draining {
			_ = from.SetReadDeadline(time.Now().Add(s.idle)) // pipes and terminals have deadlines
		}
		n, err := from.Read(buf)
		if draining && errors.Is(err, os.ErrDeadlineExceeded) {
			// The time may have gone by while this process had no processor.
			if n = readNow(from, buf); n > 0 {
				err = nil
			}
		}
		if n > 0 {
			s.send(t, buf[:n])
		}
		// A terminal ends with EIO.
		if err != nil && !(errors.Is(err, os.ErrDeadlineExceeded) && !draining) {
			return
		}
		if draining && s.limit > 0 {
			if left -= int64(n); left <= 0 {
				return
			}
		}
		if n == len(buf) && n < outputChunk {
			buf = make([]byte, min(4*n, outputChunk))
		}
	}
}

// readNow reads what is there, without waiting and whatever the deadline, of a file
// that has deadlines.
func readNow(f *os.File, b []byte) (n int) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = conn.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), b) })
	return max(n, 0)
}

// drain makes carry stop at the end of what has been written.
func (s *stream) drain() {
	s.draining.Store(true)
	for _, f := range []*os.File{s.proc.Stdout, s.proc.Stderr} {
		if f != nil {
			_ = f.SetReadDeadline(time.Now().Add(s.idle))
		}
	}
}
