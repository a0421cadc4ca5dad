package program

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// openPTY returns a new terminal's controlling side, and a blocking descriptor
// of the side for the program. TIOCGPTPEER opens the latter without a name, so
// nothing in the guest's /dev can stand in for it.
func openPTY() (*os.File, int, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		_ = unix.Close(fd)
		return nil, -1, fmt.Errorf("unlock terminal: %w", err)
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		_ = unix.Close(fd)
		return nil, -1, fmt.Errorf("open terminal: %w", errno)
	}
	f, err := ourEnd(fd, "terminal")
	if err != nil {
		_ = unix.Close(int(peer))
		return nil, -1, err
	}
	return f, int(peer), nil
}

// control runs f with the terminal's descriptor.
func control(terminal *os.File, f func(fd int) error) error {
	c, err := terminal.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := c.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

func setWindow(terminal *os.File, s agentproto.WindowSize) error {
	return control(terminal, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Cols})
	})
}

// endTerminalInput writes the end-of-file character if the terminal is in line
// mode. In any other mode there is no way to say it.
func endTerminalInput(terminal *os.File, partial bool) error {
	var t *unix.Termios
	err := control(terminal, func(fd int) (err error) {
		t, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	})
	if err != nil {
		return fmt.Errorf("read terminal mode: %w", err)
	}
	if t.Lflag&unix.ICANON == 0 {
		return nil
	}
	eof := []byte{t.Cc[unix.VEOF]}
	if partial {
		eof = append(eof, eof[0]) // the first one only hands over the line
	}
	_, err = terminal.Write(eof)
	return err
}
