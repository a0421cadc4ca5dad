package holt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// findable are machines whose VMs other processes can open.
type findable struct{ *fakeMachines }

func (f findable) start(ctx context.Context) (*VM, error) {
	vm, err := f.fakeMachines.start(ctx)
	if err == nil {
		vm.dir = keptVM(f.t, "").dir
	}
	return vm, err
}

// servedPool is a pool that others can use, and a function that waits for the end of the
// service.
func servedPool(t *testing.T, name string, c PoolConfig) (p *Pool, f *fakeMachines, served func() error) {
	t.Helper()
	f = newFakeMachines(t)
	f.startTime, f.endTime = time.Millisecond, time.Millisecond
	c.From = PoolSnapshot("warm")
	c, err := c.complete()
	if err != nil {
		t.Fatal(err)
	}
	l, err := ListenPool(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	p = newPool(c, findable{f})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, l) }()
	served = func() error {
		select {
		case err := <-done:
			done <- err
			return err
		case <-time.After(10 * time.Second):
			t.Fatal("the service does not end")
			return nil
		}
	}
	t.Cleanup(func() {
		cancel()
		if err := served(); err != nil {
			t.Error(err)
		}
		f.over(p)
	})
	return p, f, served
}

func openPool(t *testing.T, name string) *PoolClient {
	t.Helper()
	c, err := OpenPool(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// until waits until the pool's figures are as they should be.
func until(t *testing.T, p *Pool, what string, ok func(PoolStats) bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s := p.Stats()
		s.addsUp(t)
		if ok(s) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %+v", what, s)
		}
	}
}

func TestPoolServe(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	p, _, served := servedPool(t, "web", PoolConfig{Min: 1, Max: 2})
	c, other := openPool(t, "web"), openPool(t, "web")
	a, err := c.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := other.Acquire(t.Context())
	if err != nil || a.ID() == b.ID() || a.ID() == "" {
		t.Fatalf("%q and %q, %v", a.ID(), b.ID(), err)
	}
	info, err := c.Info(t.Context())
	if err != nil || info.Name != "web" || info.PID != os.Getpid() || info.From != "snapshot warm" || info.InUse != 2 || info.Max != 2 || time.Since(info.Started) > time.Minute {
		t.Errorf("%+v, %v", info, err)
	}
	// One that waits, and gives up.
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := c.Acquire(ctx)
		gone <- err
	}()
	until(t, p, "somebody waits", func(s PoolStats) bool { return s.Waiting == 1 })
	cancel(errors.New("no time"))
	if err := <-gone; err == nil || !strings.Contains(err.Error(), "no time") {
		t.Errorf("a call that was given up: %v", err)
	}
	until(t, p, "nobody waits", func(s PoolStats) bool { return s.Waiting == 0 })
	for _, err := range []error{other.Release(a), c.Release(&VM{})} {
		if err == nil || !strings.Contains(err.Error(), "has not handed it out") {
			t.Errorf("a foreign VM is released: %v", err)
		}
	}
	if err := errors.Join(c.Release(a), other.Release(b)); err != nil {
		t.Error(err)
	}
	until(t, p, "both are released", func(s PoolStats) bool { return s.Released == 2 && s.Idle == 1 && s.Destroyed == 2 })
	if err := c.Release(a); err == nil {
		t.Error("it was released twice")
	}
	// The end, with a VM in use and somebody who waits.
	if _, err = c.Acquire(t.Context()); err == nil {
		_, err = c.Acquire(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := other.Acquire(t.Context())
		gone <- err
	}()
	until(t, p, "somebody waits", func(s PoolStats) bool { return s.Waiting == 1 })
	if err := other.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if err := served(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := <-gone; !errors.Is(err, ErrPoolClosed) {
		t.Errorf("a call that waited: %v", err)
	}
	for what, err := range map[string]error{
		"Stop": other.Stop(t.Context()), "Info": second(c.Info(t.Context())), "Acquire": second(c.Acquire(t.Context())),
	} {
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `pool called "web"`) {
			t.Errorf("%s after the end: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestPoolServeErrors: why there is no VM reaches the client.
func TestPoolServeErrors(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	_, f, _ := servedPool(t, "web", PoolConfig{})
	f.fails = func(int) error { return errors.New("no memory") }
	if _, err := openPool(t, "web").Acquire(t.Context()); err == nil || err.Error() != "pool web: start a VM of the pool: no memory" {
		t.Errorf("Acquire: %v", err)
	}
}

// TestPoolClientDies: what a process had that was killed is taken back.
func TestPoolClientDies(t *testing.T) {
	if name := os.Getenv("HOLT_TEST_POOL_CLIENT"); name != "" {
		_, err := openPool(t, name).Acquire(context.Background())
		fmt.Println("acquired", err)
		time.Sleep(time.Hour)
	}
	t.Setenv("HOLT_HOME", t.TempDir())
	p, _, _ := servedPool(t, "web", PoolConfig{Max: 1})
	t.Setenv("HOLT_TEST_POOL_CLIENT", "web")
	for _, has := range []bool{true, false} { // a VM, or only a place in the queue
		var mine *VM
		if !has {
			var err error
			if mine, err = p.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestPoolClientDies$")
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if has {
			line := make([]byte, len("acquired <nil>"))
			if _, err := io.ReadFull(out, line); err != nil || string(line) != "acquired <nil>" {
				t.Errorf("%q, %v", line, err)
			}
		}
		until(t, p, "the process is there", func(s PoolStats) bool { return s.InUse == 1 && (s.Waiting == 0) == has })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if mine != nil {
			until(t, p, "nobody waits", func(s PoolStats) bool { return s.Waiting == 0 })
			mustRelease(t, p, mine)
		}
		until(t, p, "it is released", func(s PoolStats) bool { return s.InUse+s.Ending == 0 })
	}
}

// TestPoolServeStrangers: what is no client of ours does no harm.
func TestPoolServeStrangers(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	p, _, _ := servedPool(t, "web", PoolConfig{Max: 1})
	dir, err := poolDir("web")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "\x00\xff\n\n", "GET /lease HTTP/1.1\r\nHost: x\r\n\r\n", "POST /lease HTTP/1.1\r\nHost: x\r\n\r\n", "POST /lease HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nmore"} {
		conn, err := net.Dial("unix", filepath.Join(dir, "control.sock"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text)
		conn.Close()
	}
	until(t, p, "all are gone", func(s PoolStats) bool { return s.InUse+s.Waiting == 0 })
	c := openPool(t, "web")
	vm, err := c.Acquire(t.Context())
	if err == nil {
		err = c.Release(vm)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestListenPool(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	if list, err := Pools(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	servedPool(t, "web", PoolConfig{Min: 1})
	_, _, served := servedPool(t, strings.Repeat("l", 63), PoolConfig{})
	if _, err := ListenPool(t.Context(), "web"); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "holt pool stop web") {
		t.Errorf("a second one of the name: %v", err)
	}
	for _, name := range []string{"", ".", "a/b", "..", strings.Repeat("l", 64), "0123456789ab"} {
		if _, err := ListenPool(t.Context(), name); err == nil || !strings.Contains(err.Error(), "pool name") {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := OpenPool(t.Context(), name); err == nil {
			t.Errorf("%q can be opened", name)
		}
	}
	// One that does not answer yet, one that died, and what is no pool.
	l, err := ListenPool(t.Context(), "late")
	if err != nil {
		t.Fatal(err)
	}
	dead, err := ListenPool(t.Context(), "dead")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	if err := os.MkdirAll(filepath.Join(os.Getenv("HOLT_HOME"), "run", "pools", "-"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := openPool(t, strings.Repeat("l", 63)).Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := served(); err != nil {
		t.Error(err)
	}
	list, err := Pools(t.Context())
	names := func() (names []string) {
		for _, i := range list {
			names = append(names, i.Name)
		}
		return names
	}
	if err != nil || !slices.Equal(names(), []string{"late", "web"}) || list[0].Error == "" || list[1].Error != "" || list[1].Min != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	l.Close()
	for _, name := range []string{"late", "dead"} { // their names are free
		l, err := ListenPool(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	if _, err := os.Stat(filepath.Join(os.Getenv("HOLT_HOME"), "run", "pools")); err != nil {
		t.Error(err)
	}
}
