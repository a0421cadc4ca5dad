package program

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// stdio is both ends of a program's standard streams. The child's ends are
// plain blocking descriptors, as programs expect; ours are non-blocking, so
// that reads and writes can be given a deadline.
type stdio struct {
	child        [3]uintptr
	fds          []int // the child's descriptors, each once
	in, out, err *os.File
}

func openStdio(spec agentproto.Program) (s *stdio, err error) {
	s = &stdio{}
	defer func() {
		if err != nil {
			s.closeChild()
			s.closeParent()
		}
	}()
	if spec.TTY {
		return s, s.openTerminal(spec)
	}
	if spec.Stdin {
		if s.in, err = s.pipe(0); err != nil {
			return s, err
		}
	} else {
		fd, err := openNull("/dev/null")
		if err != nil {
			return s, err
		}
		s.give(fd, 0)
	}
	if s.out, err = s.pipe(1); err != nil {
		return s, err
	}
	s.err, err = s.pipe(2)
	return s, err
}

// openNull opens a program's empty input, at name. A FIFO that a program of the guest has
// put there is not waited for.
func openNull(name string) (int, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	if err := unix.SetNonblock(fd, false); err != nil { // programs expect that
		_ = unix.Close(fd)
		return -1, fmt.Errorf("set %s blocking: %w", name, err)
	}
	return fd, nil
}

func (s *stdio) openTerminal(spec agentproto.Program) error {
	terminal, fd, err := openPTY()
	if err != nil {
		return err
	}
	s.out = terminal
	if spec.Stdin {
		s.in = terminal
	}
	s.give(fd, 0, 1, 2)
	return setWindow(terminal, spec.Window)
}

// pipe makes the pipe of the child's descriptor n and returns our end.
func (s *stdio) pipe(n int) (*os.File, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	ours, theirs := p[0], p[1]
	if n == 0 {
		ours, theirs = p[1], p[0]
	}
	s.give(theirs, n)
	return ourEnd(ours, "pipe")
}

// ourEnd makes a file of fd that waits in the runtime's poller.
func ourEnd(fd int, name string) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set %s non-blocking: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (s *stdio) give(fd int, numbers ...int) {
	s.fds = append(s.fds, fd)
	for _, n := range numbers {
		s.child[n] = uintptr(fd)
	}
}

// chown gives the child's ends to uid, where that is possible: /dev/null is
// not touched.
func (s *stdio) chown(uid uint32) {
	for _, fd := range s.fds {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil {
			continue
		}
		if isNull := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3); isNull {
			continue
		}
		// Best effort: only opening the stream again by name depends on it.
		_ = unix.Fchown(fd, int(uid), -1)
	}
}

func (s *stdio) closeChild() {
	for _, fd := range s.fds {
		_ = unix.Close(fd)
	}
	s.fds = nil
}

func (s *stdio) closeParent() {
	for _, f := range []*os.File{s.in, s.out, s.err} {
		if f != nil {
			_ = f.Close()
		}
	}
}
