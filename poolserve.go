package holt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/flock"
	"github.com/holtvm/holt/internal/names"
	"github.com/holtvm/holt/internal/paths"
)

// Paths on a pool's socket, which speaks as a monitor's control socket does.
const (
	poolInfoPath  = "/info"  // GET PoolInfo
	poolLeasePath = "/lease" // upgrade: answers a line with a poolLease, once there is a VM
	poolStopPath  = "/stop"  // POST; answered when the pool is closed
)

// poolLease is a VM that a client has until its connection ends, whoever ends it.
type poolLease struct {
	VM string `json:"vm"` // its id
}

// maxPoolLease bounds an encoded poolLease, in bytes.
const maxPoolLease = 4096

// poolLockTime is how long a new pool waits for one that is about to leave its name.
const poolLockTime = 200 * time.Millisecond

// poolsName is the directory of all pools' directories, which only their user may enter.
const poolsName = "pools"

// poolDir is the directory of a pool's socket.
func poolDir(name string) (string, error) {
	if err := names.Check("pool", name); err != nil {
		return "", err
	}
	dirs, err := paths.Default()
	if err != nil {
		return "", err
	}
	return filepath.Join(dirs.Runtime, poolsName, name), dirs.MakeRuntime()
}

// ListenPool takes a name for a pool and returns the socket for [Pool.Serve]. The pools
// of a user have names like VMs, and share none with them. A name that another process
// serves is ErrExists; what a dead one left is replaced.
func ListenPool(ctx context.Context, name string) (net.Listener, error) {
	dir, err := poolDir(name)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(dir), 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("serve a pool: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, poolLockTime)
	defer cancel()
	// The lock's file stays: others may be waiting for it. No pool's name begins with a
	// full stop.
	lock, err := flock.Acquire(ctx, filepath.Join(filepath.Dir(dir), "."+name+".lock"))
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, &poolExistsError{name}
	}
	if err != nil {
		return nil, fmt.Errorf("serve a pool: %w", err)
	}
	if err = os.MkdirAll(dir, 0o700); err == nil {
		var l *net.UnixListener
		if l, err = control.Listen(dir); err == nil {
			return &poolListener{l, sync.OnceFunc(func() {
				_ = os.RemoveAll(dir) // what is left is replaced
				lock.Unlock()
			})}, nil
		}
	}
	lock.Unlock()
	return nil, fmt.Errorf("serve a pool: %w", err)
}

// poolExistsError is ErrExists for a pool.
type poolExistsError struct{ name string }

// Error implements error.
func (e *poolExistsError) Error() string {
	return fmt.Sprintf("another process serves a pool called %q: stop it (holt pool stop %s), or choose another name", e.name, e.name)
}

// Is implements what errors.Is asks for.
func (*poolExistsError) Is(target error) bool { return target == ErrExists }

// poolListener is a pool's socket with its name's lock.
type poolListener struct {
	*net.UnixListener

	remove func() // the socket, and the lock
}

// Close implements net.Listener.
func (l *poolListener) Close() error {
	defer l.remove()
	return l.UnixListener.Close()
}

// Serve lets other processes of this user take VMs from the pool, see [OpenPool], until
// ctx ends or one of them asks for the pool's end. Then all VMs are taken back from
// them, and the pool and l are closed. A VM is released when its process ends, too,
// in whichever way.
func (p *Pool) Serve(ctx context.Context, l net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &poolServer{pool: p, ctx: ctx, stop: stop, began: time.Now(), closed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+poolInfoPath, s.info)
	mux.HandleFunc("POST "+poolLeasePath, s.lease)
	mux.HandleFunc("POST "+poolStopPath, s.end)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // of clients that went
	}
	var err error // why it broke
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer stop()
		if err = server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			err = fmt.Errorf("serve a pool: %w", err)
		} else {
			err = nil
		}
	}()
	<-ctx.Done()
	s.awaitLeases()
	_ = p.Close()
	close(s.closed)
	last, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = server.Shutdown(last) // who does not read his answer has none
	_ = server.Close()
	<-over
	return err
}

// poolServer answers on a pool's socket.
type poolServer struct {
	pool   *Pool
	ctx    context.Context // ends with the service
	stop   func()
	began  time.Time
	closed chan struct{} // closed when the pool is

	mu     sync.Mutex // of ended, and of what is added to leases
	ended  bool
	leases sync.WaitGroup
}

// begin counts one more lease. There are none after the end.
func (s *poolServer) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.leases.Add(1)
	}
	return !s.ended
}

func (s *poolServer) awaitLeases() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.leases.Wait()
}

func (s *poolServer) info(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(PoolInfo{ // the client may be gone
		PID: os.Getpid(), From: s.pool.config.From.text, Started: s.began, PoolStats: s.pool.Stats(),
	})
}

func (s *poolServer) end(w http.ResponseWriter, _ *http.Request) {
	s.stop()
	<-s.closed
	w.WriteHeader(http.StatusOK)
}

// lease hands a VM to a client, and takes it back when the connection ends.
func (s *poolServer) lease(w http.ResponseWriter, r *http.Request) {
	if !s.begin() {
		http.Error(w, ErrPoolClosed.Error(), http.StatusGone)
		return
	}
	defer s.leases.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	vm, err := s.pool.Acquire(ctx)
	switch {
	case s.ctx.Err() != nil && err != nil, errors.Is(err, ErrPoolClosed):
		http.Error(w, ErrPoolClosed.Error(), http.StatusGone)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer func() { _ = s.pool.Release(vm) }() // it was acquired once
	conn, err := control.Accept(w)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { conn.Close() })()
	if json.NewEncoder(conn).Encode(poolLease{vm.ID()}) == nil {
		_, _ = io.Copy(io.Discard, conn) // until the client has gone
	}
}
