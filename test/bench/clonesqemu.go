package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// askQEMU is what makes the program answer in a guest of QEMU's that goes on. QEMU
// may take a character before it has loaded the serial port's state, which is lost.
const askQEMU = "\n\n\n\n"

// saveQEMU saves a guest of QEMU's, of the same memory and kernel, whose program has
// spoken and waits for a line on the serial port: with nothing but that program as
// init it has less to save and to load than ours.
func (c *cloner) saveQEMU(ctx context.Context) error {
	c.qemuState = filepath.Join(c.home, "qemu-state")
	monitor := filepath.Join(c.home, "qemu-monitor")
	cmd := c.microvm(append(c.microvmBoots("answer"), "-monitor", "unix:"+monitor+",server=on,wait=off")...)
	return talk(ctx, cmd, "", func(io.Reader) error {
		time.Sleep(settle)
		if err := migrate(ctx, monitor, c.qemuState); err != nil {
			return errors.Join(err, cmd.Process.Kill())
		}
		return nil
	})
}

// migrate has QEMU save its guest to a file, and end, through its monitor's socket.
func migrate(ctx context.Context, monitor, file string) error {
	conn, err := net.Dial("unix", monitor)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// The second command waits for the first.
	if _, err := fmt.Fprintf(conn, "migrate \"exec:cat > %s\"\nquit\n", file); err != nil {
		return err
	}
	said, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if st, err := os.Stat(file); err != nil || st.Size() == 0 {
		return fmt.Errorf("QEMU saved nothing: %q", said)
	}
	return nil
}

// restoreQEMU measures the time until the program of a guest that goes on has
// answered. QEMU reads the file by itself, and without the kernel, which is in memory.
func (c *cloner) restoreQEMU(ctx context.Context) (figures, error) {
	state, err := os.Open(c.qemuState)
	if err != nil {
		return nil, err
	}
	defer state.Close()
	cmd := c.microvm("-incoming", "fd:3")
	cmd.ExtraFiles = []*os.File{state}
	begin := time.Now()
	var took time.Duration
	err = talk(ctx, cmd, askQEMU, func(io.Reader) error {
		took = time.Since(begin)
		return cmd.Process.Signal(syscall.SIGKILL)
	})
	return figures{answerTime: milliseconds(took)}, err
}

// talk is greeted for a command that is told something, and whose input stays open.
func talk(ctx context.Context, cmd *exec.Cmd, text string, then func(io.Reader) error) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()
	if _, err := io.Copy(w, strings.NewReader(text)); err != nil {
		return err
	}
	cmd.Stdin = r
	return greeted(ctx, cmd, then)
}
