package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/agentbin"
	"github.com/holtvm/holt/internal/eventlog"
	"github.com/holtvm/holt/internal/monitor"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/state"
)

// Descriptors that a client hands to its monitor.
const (
	specFD    = 3 // the specification, to be read to its end
	streamFD  = 4 // the stream connection
	lockFD    = 5 // the locked file of the VM's directory, to be kept open
	controlFD = 6 // the listening control socket
	originFD  = 7 // and more: what the VM goes on from, see monitor.OriginFiles
)

const monitorCommand = "monitor"

var errByHand = errors.New("holt monitor is started by holt run and by programs that use the holt package, not by hand")

func newMonitor() *cobra.Command {
	return &cobra.Command{
		Use:    monitorCommand,
		Short:  "Be one VM's monitor (started by holt itself)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(*cobra.Command, []string) error { return runMonitor() },
	}
}

func runMonitor() error {
	// Nobody asks for a profile, and its table takes most of a megabyte in each monitor.
	runtime.MemProfileRate = 0
	for fd := specFD; fd <= controlFD; fd++ {
		// They must not leak into QEMU, which would keep the lock.
		syscall.CloseOnExec(fd)
	}
	specFile, stream := os.NewFile(specFD, "spec"), os.NewFile(streamFD, "stream")
	lock := os.NewFile(lockFD, "lock")
	defer lock.Close()
	socket := os.NewFile(controlFD, "control")
	client, err := net.FileConn(stream)
	if err != nil {
		return errByHand
	}
	stream.Close()
	listener, err := net.FileListener(socket)
	if err != nil {
		return errByHand
	}
	socket.Close()
	raiseFileLimit()
	env, spec, err := prepare(specFile)
	specFile.Close()
	if err != nil {
		monitor.Refuse(client, err)
		return &exitError{status: holt.StatusHoltFailed}
	}
	env.Control = listener
	if spec.Origin != nil {
		if env.Origin, err = takeOrigin(spec.Origin); err != nil {
			monitor.Refuse(client, err)
			return &exitError{status: holt.StatusHoltFailed}
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	monitor.Run(ctx, spec, client, env)
	if spec.Remove {
		return remove(spec, env, lock)
	}
	return nil
}

// takeOrigin takes the files that the VM goes on from.
func takeOrigin(o *monitor.Origin) (*monitor.OriginFiles, error) {
	n, err := o.Count()
	if err != nil {
		return nil, err
	}
	files := make([]*os.File, n)
	for i := range files {
		syscall.CloseOnExec(originFD + i)
		files[i] = os.NewFile(uintptr(originFD+i), fmt.Sprintf("origin %d", i))
	}
	return o.Files(files)
}

// remove removes the VM whose lock this is.
func remove(spec monitor.Spec, env monitor.Env, lock *os.File) error {
	dir, err := state.Load(spec.Dir) // somebody may have renamed it
	if err != nil {
		dir.Record.Name = spec.Name
	}
	dir.Lock = lock
	if err := dir.Remove(); err != nil {
		return err
	}
	e := eventlog.Event{Action: eventlog.Remove, ID: spec.ID, Name: dir.Record.Name}
	if err := eventlog.Append(env.Dirs.Data, e); err != nil {
		env.Log.Warn("the VM's removal is not in the log of events", "error", err)
	}
	return nil
}

// raiseFileLimit lets this process open as many files as the kernel allows, as
// far as it may: a guest's shared directories need one descriptor per file.
func raiseFileLimit() {
	most := uint64(1 << 20) // the kernel's default of fs.nr_open
	if text, err := os.ReadFile("/proc/sys/fs/nr_open"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
			most = n
		}
	}
	// Without privilege the hard limit stays, up to which Go itself raised ours.
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: most, Max: most})
}

func prepare(specFile *os.File) (env monitor.Env, spec monitor.Spec, err error) {
	if spec, err = monitor.ReadSpec(specFile); err != nil {
		return env, spec, err
	}
	if env.Dirs, err = paths.Default(); err != nil {
		return env, spec, err
	}
	if env.Agent, err = agentbin.Find(); err != nil {
		return env, spec, fmt.Errorf("this holt binary is incomplete: %w", err)
	}
	env.Log = spec.Logger(os.Stderr)
	return env, spec, nil
}
