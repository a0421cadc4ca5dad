package holt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/paths"
)

// PoolInfo is what is known about a pool that a process serves.
type PoolInfo struct {
	Name    string    `json:"name"`
	PID     int       `json:"pid"`     // of the process that serves it
	From    string    `json:"from"`    // "snapshot NAME", or the program's command line
	Started time.Time `json:"started"` // when it began to be served
	PoolStats
	// Error is why nothing else is known, as of a pool whose first VM still boots.
	Error string `json:"error,omitempty"`
}

// PoolClient takes VMs from a pool that another process serves ([Pool.Serve]). Its
// methods may be called from several goroutines.
type PoolClient struct {
	name    string
	control *control.Client
	opts    []Option

	mu     sync.Mutex
	leases map[*VM]net.Conn
}

// OpenPool returns a client of the pool with a name. Whether there is one, its methods
// tell: if not, with ErrNotFound. The options are those of [Open].
func OpenPool(_ context.Context, name string, opts ...Option) (*PoolClient, error) {
	dir, err := poolDir(name)
	if err != nil {
		return nil, err
	}
	return &PoolClient{name: name, control: control.NewClient(dir), opts: opts, leases: map[*VM]net.Conn{}}, nil
}

// Acquire is [Pool.Acquire]. The VM is taken back when this process ends.
func (c *PoolClient) Acquire(ctx context.Context) (*VM, error) {
	conn, err := c.control.Upgrade(ctx, poolLeasePath)
	if err != nil {
		return nil, c.failure(err)
	}
	vm, err := c.accept(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, c.failure(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leases[vm] = conn
	return vm, nil
}

// accept reads which VM the connection is the lease of.
func (c *PoolClient) accept(ctx context.Context, conn net.Conn) (*VM, error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var lease poolLease
	if err := control.ReadLine(conn, maxPoolLease, &lease); err != nil {
		return nil, orCause(ctx, err)
	}
	return Open(ctx, lease.VM, c.opts...)
}

// Release is [Pool.Release].
func (c *PoolClient) Release(vm *VM) error {
	c.mu.Lock()
	conn := c.leases[vm]
	delete(c.leases, vm)
	c.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("release VM %s: pool %s has not handed it out, or it was released before", vm.Name(), c.name)
	}
	return conn.Close()
}

// Info returns what the pool did and has.
func (c *PoolClient) Info(ctx context.Context) (PoolInfo, error) {
	var info PoolInfo
	err := c.control.Get(ctx, poolInfoPath, &info)
	info.Name = c.name
	return info, c.failure(err)
}

// Stop ends the pool and the process's [Pool.Serve], and returns when that is done. The
// VMs that clients have end, too.
func (c *PoolClient) Stop(ctx context.Context) error {
	_, err := c.control.Do(ctx, poolStopPath)
	return c.failure(err)
}

// failure is an error of the connection with the pool, in words about pools.
func (c *PoolClient) failure(err error) error {
	refusal, ok := errors.AsType[*control.RefusedError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, control.ErrGone):
		return &notFoundError{fmt.Errorf("no process serves a pool called %q (holt pool ls lists all, holt pool start starts one)", c.name)}
	case ok && refusal.Reason == ErrPoolClosed.Error():
		err = ErrPoolClosed
	}
	return fmt.Errorf("pool %s: %w", c.name, err)
}

// poolAnswerTime is how long Pools waits for a pool's answer.
const poolAnswerTime = 2 * time.Second

// Pools returns what is known about all pools that processes of this user serve, by
// name. One that does not answer within 2 seconds has its Error.
func Pools(ctx context.Context) ([]PoolInfo, error) {
	dirs, err := paths.Default()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(dirs.Runtime, poolsName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list pools: %w", err)
	}
	ask, cancel := context.WithTimeout(ctx, poolAnswerTime)
	defer cancel()
	var mu sync.Mutex
	var all []PoolInfo
	var asked sync.WaitGroup
	for _, e := range entries {
		c, err := OpenPool(ctx, e.Name())
		if err != nil {
			continue // it is no pool's
		}
		asked.Go(func() {
			info, err := c.Info(ask)
			if errors.Is(err, ErrNotFound) {
				return // what one that has ended left
			}
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				info.Error = "it does not answer: perhaps the VM boots that it will have copies of"
			case err != nil:
				info.Error = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, info)
		})
	}
	asked.Wait()
	slices.SortFunc(all, func(a, b PoolInfo) int { return cmp.Compare(a.Name, b.Name) })
	return all, ctx.Err()
}
