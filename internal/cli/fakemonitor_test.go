package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/monitor"
	"github.com/holtvm/holt/internal/snapshot"
	"github.com/holtvm/holt/internal/state"
)

// fakeVM is a monitor without a machine: clients see a VM that runs, can be saved, and
// goes on from what was saved.
type fakeVM struct {
	spec  monitor.Spec
	dir   *state.Dir
	out   *agentproto.Writer // to the client that started it
	lock  *os.File
	once  sync.Once
	ended chan struct{}
	end   state.End
	from  string // the state that it goes on from
	base  string // id of the last differential snapshot
}

// fakeMonitor is `holt monitor`. It is gone after a minute, whatever happens.
func fakeMonitor() error {
	time.AfterFunc(time.Minute, func() { os.Exit(9) })
	vm := &fakeVM{lock: os.NewFile(lockFD, "lock"), ended: make(chan struct{})}
	var err error
	if vm.spec, err = monitor.ReadSpec(os.NewFile(specFD, "spec")); err != nil {
		return err
	}
	conn, err := net.FileConn(os.NewFile(streamFD, "stream"))
	if err != nil {
		return err
	}
	listener, err := net.FileListener(os.NewFile(controlFD, "control"))
	if err != nil {
		return err
	}
	if vm.spec.Origin != nil {
		b, err := io.ReadAll(io.NewSectionReader(os.NewFile(originFD, "state"), 0, 1<<20))
		if err != nil {
			return err
		}
		vm.from = string(b)
	}
	if vm.dir, err = state.Load(vm.spec.Dir); err != nil {
		return err
	}
	vm.dir.Lock = vm.lock
	if err := vm.dir.SetStatus(state.Status{State: state.Running, Run: "1", Monitor: os.Getpid(), Backend: "kvm", Started: time.Now()}); err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, vm.control()) }()
	vm.out = agentproto.NewWriter(conn)
	go vm.main(agentproto.NewReader(conn, agentproto.Host))
	<-vm.ended
	time.Sleep(20 * time.Millisecond) // for the answers that are under way
	if vm.spec.Remove {
		return vm.dir.Remove()
	}
	return nil
}

// finish ends the VM.
func (vm *fakeVM) finish(end state.End) {
	vm.once.Do(func() {
		vm.end = end
		_ = vm.dir.SetStatus(state.Status{State: state.Stopped, Run: "1", End: &end, Finished: time.Now()})
		_ = vm.out.Exit(agentproto.Exit{Code: end.Code, Signal: end.Signal})
		close(vm.ended)
	})
}

// busy tells the test that something is under way that does not end by itself.
func (vm *fakeVM) busy() { _ = os.WriteFile(filepath.Join(vm.spec.Dir, "busy"), nil, 0o600) }

// main is the main program: "work" ends with status 7 once it goes on from somewhere,
// "cat" gives its input back, and others wait. That of a VM that is called stuck never
// starts.
func (vm *fakeVM) main(in *agentproto.Reader) {
	if vm.spec.Name == "stuck" {
		vm.busy()
	} else {
		_ = vm.out.Started(agentproto.Started{PID: 50, Session: agentproto.MainSession})
	}
	switch p := vm.spec.Program; {
	case p.Path == "work" && vm.from != "":
		_ = vm.out.Frame(agentproto.TypeStdout, []byte("goes on from "+vm.from+"\n"))
		vm.finish(state.End{Code: 7})
		return
	case p.Path == "cat" && p.Stdin:
		if fakeCat(in, vm.out) == nil {
			vm.finish(state.End{})
			return
		}
	}
	for {
		if _, err := in.Next(); err != nil {
			break
		}
	}
	if !vm.spec.Kept {
		vm.finish(state.End{Signal: 9})
	}
}

func (vm *fakeVM) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+control.PathKill, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "1")
		vm.finish(state.End{Signal: 9, Killed: true})
	})
	mux.HandleFunc("GET "+control.PathWait, func(w http.ResponseWriter, _ *http.Request) {
		<-vm.ended
		_ = json.NewEncoder(w).Encode(vm.end)
	})
	mux.HandleFunc("GET "+control.PathBase, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(control.Base{Snapshot: vm.base})
	})
	mux.HandleFunc("GET "+control.PathWorkingSet, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(guestmem.EncodeRuns([]guestmem.Run{{Page: 0, Count: 1}}))
	})
	mux.HandleFunc("POST "+control.PathSnapshot, vm.save)
	mux.HandleFunc("POST "+control.PathFork, func(w http.ResponseWriter, r *http.Request) {
		if vm.spec.Name == "slow" {
			vm.busy()
			<-r.Context().Done()
		}
		upgraded(w, vm.fork)
	})
	mux.HandleFunc("POST "+control.PathAgent, func(w http.ResponseWriter, _ *http.Request) { upgraded(w, vm.agent) })
	return mux
}

// upgraded answers that the connection is serve's.
func upgraded(w http.ResponseWriter, serve func(net.Conn) error) {
	conn, err := control.Accept(w)
	if err != nil {
		return
	}
	defer conn.Close()
	if err := serve(conn); err != nil {
		e := &agentproto.Error{Kind: agentproto.KindInternal, Message: err.Error()}
		_ = errors.As(err, &e)
		_ = agentproto.NewWriter(conn).Error(e)
	}
}

// save makes the files of a snapshot. A VM that is called slow takes until the client
// has gone.
func (vm *fakeVM) save(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	dir := q.Get(control.ParamDir)
	files := map[string][]byte{snapshot.State: []byte("the state of " + vm.spec.Name), snapshot.Memory: bytes.Repeat([]byte("memory"), 1000)}
	if q.Get(control.ParamParent) != "" {
		files[snapshot.Pages] = guestmem.EncodeRuns([]guestmem.Run{{Page: 0, Count: 2}})
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	if vm.spec.Name == "slow" {
		vm.busy()
		<-r.Context().Done()
		return
	}
	if err := os.Truncate(filepath.Join(dir, snapshot.Memory), int64(vm.spec.MemoryBytes)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if q.Get(control.ParamRebase) != "" {
		vm.base = q.Get(control.ParamID)
	}
	_ = json.NewEncoder(w).Encode(control.Captured{Program: true, CPUFeatures: []string{"sse2"}})
}

// fork keeps files open until the client has gone.
func (vm *fakeVM) fork(conn net.Conn) error {
	var fds [2]int
	for i, text := range []string{"the state of " + vm.spec.Name, "memory"} {
		fd, err := unix.MemfdCreate("fake", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if _, err := unix.Write(fd, []byte(text)); err != nil {
			return err
		}
		fds[i] = fd
	}
	forked := control.Forked{PID: os.Getpid(), Layers: 1, Files: fds[:]}
	_ = json.NewEncoder(conn).Encode(forked)
	_, _ = io.Copy(io.Discard, conn)
	return nil
}
