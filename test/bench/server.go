package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// server is the process that serves a device.
type server struct {
	cmd        *exec.Cmd
	complaints strings.Builder
}

// overSocket starts a device's server, and returns it with QEMU's arguments for its
// front end, in which the chardev "device" leads there.
func (b *bench) overSocket(cmd *exec.Cmd, frontend ...string) (a attachment, err error) {
	socket := filepath.Join(b.temp, "device.sock")
	a.args = append([]string{"-chardev", "socket,id=device,path=" + socket}, frontend...)
	a.server, err = startServer(cmd, socket)
	return a, err
}

// startServer starts cmd with a socket on which QEMU can connect at once.
func startServer(cmd *exec.Cmd, socket string) (*server, error) {
	if err := os.RemoveAll(socket); err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	f, err := listener.File()
	if err != nil {
		return nil, err
	}
	return startWith(cmd, f)
}

// startWith starts cmd with f as descriptor inheritedFD.
func startWith(cmd *exec.Cmd, f *os.File) (*server, error) {
	defer f.Close()
	s := &server{cmd: cmd}
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stdout, cmd.Stderr = &s.complaints, &s.complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return s, cmd.Start()
}

// finish waits for a server whose QEMU has ended, and returns its processor
// time. A server that does not end by itself is killed.
func (s *server) finish() (cpu time.Duration, err error) {
	patience := time.AfterFunc(10*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer patience.Stop()
	err = s.cmd.Wait()
	if err != nil {
		err = fmt.Errorf("the device's server: %w\n%s", err, s.complaints.String())
	}
	return s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime(), err
}
