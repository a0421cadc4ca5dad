// Package agenttest plays a running VM in tests: its directory, its monitor, and what of
// the guest's agent serves files.
package agenttest

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/state"
)

// VM is a VM that runs, as far as clients can tell.
type VM struct {
	dir   *state.Dir
	ended chan struct{}
	end   state.End
	once  sync.Once

	mu    sync.Mutex
	conns []net.Conn
}

// Start makes a VM in Holt's directories, which the test has to have for itself
// (HOLT_HOME). serve plays the agent on each connection, which is closed after it.
func Start(t testing.TB, name string, serve func(net.Conn)) *VM {
	t.Helper()
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	record := state.Record{
		Name: name, Kept: true, Options: json.RawMessage(`{}`),
		Config: json.RawMessage(`{"root_path":"/","exec_path":"/bin/true"}`),
	}
	vm := &VM{ended: make(chan struct{})}
	if vm.dir, err = state.Open(dirs).Create(t.Context(), record); err == nil {
		err = vm.dir.SetStatus(state.Status{State: state.Running, Monitor: os.Getpid()})
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := control.Listen(vm.dir.Path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+control.PathAgent, func(w http.ResponseWriter, _ *http.Request) { vm.agent(w, serve) })
	mux.HandleFunc("GET "+control.PathWait, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-vm.ended:
			_ = json.NewEncoder(w).Encode(vm.end)
		case <-r.Context().Done():
		}
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		vm.Die(state.End{})
	})
	return vm
}

// Die ends the VM: its connections break, and it is told how it ended.
func (vm *VM) Die(end state.End) {
	vm.once.Do(func() {
		vm.mu.Lock()
		defer vm.mu.Unlock()
		for _, conn := range vm.conns {
			conn.Close()
		}
		vm.end = end
		_ = vm.dir.SetStatus(state.Status{State: state.Stopped, End: &end})
		close(vm.ended)
		vm.dir.Unlock()
	})
}

// agent makes a request's connection one of the agent protocol, as a monitor does.
func (vm *VM) agent(w http.ResponseWriter, serve func(net.Conn)) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if !vm.add(conn) {
		return
	}
	const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + control.Protocol + "\r\n\r\n"
	if _, err := io.WriteString(conn, head); err == nil {
		serve(conn) // a client says nothing before it has this answer
	}
}

// add reports whether conn may be used: until the VM ends, which closes it.
func (vm *VM) add(conn net.Conn) bool {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	select {
	case <-vm.ended:
		return false
	default:
		vm.conns = append(vm.conns, conn)
		return true
	}
}
