package holt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// PoolConfig says what a [Pool] is like.
type PoolConfig struct {
	// Min is how many VMs are kept idle and ready; with 0, VMs are started when somebody
	// asks. Max is the most that exist at once, those that are coming and going included:
	// Min or more, and 1 at least; 0 is four times Min, and 4 at least.
	Min, Max int
	// IdleTimeout ends idle VMs above Min that nobody took for so long. 0 keeps them.
	IdleTimeout time.Duration
	// HealthCheck says what is wrong with a VM, if something is. It is asked when a VM
	// has started, before an idle one is handed out, and every 30 seconds about idle
	// ones. Its context ends after 5 seconds, and earlier if the VM is taken meanwhile.
	// A VM that is found wrong is destroyed, and another one takes its place.
	//
	// Without one, idle VMs are asked for a sign of life ([VM.Ping]) every 30 seconds,
	// and a VM is handed out unless it has ended.
	HealthCheck func(ctx context.Context, vm *VM) error
	// From is what the VMs are copies of.
	From PoolSource
	// Reuse hands a VM that was released to the next one who comes. Nothing of what was
	// done in it is undone: only for programs that may see each other's. By default a
	// VM is used once.
	Reuse bool
	// Options are those of each VM, as [Restore] takes them. A pool's VMs end with it
	// and have no names: [Keep] and [WithName] are errors.
	Options []Option
}

// PoolStats is what a pool did and has. What is counted begins with the pool and only
// grows. At any moment
//
//	Hits + Misses == InUse + Released
//	Created       == Idle + InUse + Ending + Destroyed
//	Max           >= Idle + InUse + Ending + Starting
//
// and Evicted + Unhealthy <= Ending + Destroyed.
type PoolStats struct {
	Min int `json:"min"`
	Max int `json:"max"`

	Idle     int `json:"idle"`     // ready; those that are about to be handed out included
	InUse    int `json:"in_use"`   // handed out
	Starting int `json:"starting"` // not ready yet
	Ending   int `json:"ending"`   // being destroyed
	Waiting  int `json:"waiting"`  // calls of Acquire

	Hits      uint64 `json:"hits"`      // VMs that were handed out at once
	Misses    uint64 `json:"misses"`    // VMs that were waited for
	Released  uint64 `json:"released"`  // VMs that were given back
	Created   uint64 `json:"created"`   // starts that succeeded
	Failed    uint64 `json:"failed"`    // starts that did not
	Destroyed uint64 `json:"destroyed"` // VMs of which nothing is left
	Evicted   uint64 `json:"evicted"`   // ended for they were idle for too long
	Unhealthy uint64 `json:"unhealthy"` // ended by themselves or failed a check, while nobody used them
}

// ErrPoolClosed says that a pool was closed.
var ErrPoolClosed = errors.New("the pool is closed")

// Pool keeps VMs ready that are all copies of one, and hands them out. All its methods
// may be called from several goroutines.
//
// It starts VMs in the background, some at a time. When that fails it waits for 100 ms
// before it tries again, twice as long each time and 5 seconds at most.
type Pool struct {
	config PoolConfig
	vms    machines
	ctx    context.Context // of what goes on in the background; Close ends it
	cancel context.CancelFunc

	mu       sync.Mutex
	closed   bool
	idle     []*pooled // the one that was idle for the longest time first
	used     map[*VM]*pooled
	waiters  []waiter     // who came first is first
	warmers  []chan error // calls of Warm, each for one value
	offered  int          // taken from the idle ones, and not handed out yet
	starting int
	ending   int
	count    PoolStats // what only grows

	delay time.Duration // before the next try, if a start fails
	retry *time.Timer   // runs until the next try; nil if nothing has failed

	working int        // goroutines
	quiet   *sync.Cond // one of the goroutines or offers has ended
}

// pooled is a VM of a pool.
type pooled struct {
	vm      *VM
	gone    chan struct{}      // closed when the VM has ended
	since   time.Time          // it is idle
	disturb context.CancelFunc // ends the check that goes on; nil without one
}

// ended reports whether the VM has ended.
func (m *pooled) ended() bool {
	select {
	case <-m.gone:
		return true
	default:
		return false
	}
}

// NewPool makes a pool and begins to fill it: [Pool.Warm] waits for that. ctx bounds
// the call alone. The pool takes host memory and runs VMs until [Pool.Close], or until
// this process ends.
func NewPool(ctx context.Context, config PoolConfig) (*Pool, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	o, err := config.From.open(ctx, config.Options)
	if err != nil {
		return nil, fmt.Errorf("make a pool: %w", err)
	}
	return newPool(config, &clones{o, config.Options}), nil
}

// complete checks the configuration, and fills in what is left out.
func (c PoolConfig) complete() (PoolConfig, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("make a pool: "+format, args...)) }
	if c.Min < 0 {
		wrong("Min is %d: must not be negative", c.Min)
	}
	if c.Max == 0 {
		c.Max = 4 * max(c.Min, 1)
	}
	if c.Max < max(c.Min, 1) {
		wrong("Max is %d: must be Min (%d) or more, and 1 or more", c.Max, c.Min)
	}
	if c.IdleTimeout < 0 {
		wrong("IdleTimeout is %v: must not be negative", c.IdleTimeout)
	}
	if c.From.open == nil {
		wrong("From is not set: it is what the VMs are copies of, such as PoolSnapshot(name)")
	}
	set, err := collect(c.Options)
	if err != nil {
		wrong("%w", err)
	}
	if set.keep {
		wrong("its VMs end with it, and cannot be kept")
	}
	if set.name != "" {
		wrong("its VMs cannot all be called %q", set.name)
	}
	return c, errors.Join(errs...)
}

// newPool makes a pool of these VMs.
func newPool(config PoolConfig, vms machines) *Pool {
	p := &Pool{config: config, vms: vms, used: map[*VM]*pooled{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.quiet = sync.NewCond(&p.mu)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spawn(p.inspect)
	if config.IdleTimeout > 0 {
		p.spawn(p.evict)
	}
	p.fill()
	return p
}

// startsAtOnce is how many VMs are started at a time. The rest of the host is for those
// that work.
func startsAtOnce() int { return max(2, runtime.NumCPU()/2) }

// spawn does f in the background; Close waits for it. The pool is locked, but not in f.
func (p *Pool) spawn(f func()) {
	p.working++
	go func() {
		f()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.working--
		p.quiet.Broadcast()
	}()
}

// Stats returns what the pool did and has.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.count
	s.Min, s.Max = p.config.Min, p.config.Max
	s.Idle, s.InUse = len(p.idle)+p.offered, len(p.used)
	s.Starting, s.Ending, s.Waiting = p.starting, p.ending, len(p.waiters)
	return s
}

// Close destroys the VMs that nobody uses, makes calls that wait return ErrPoolClosed,
// and returns when that is done. VMs in use go on until they are released. A second
// call waits for what was released since. The error is always nil.
func (p *Pool) Close() error {
	p.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.retry != nil {
		p.retry.Stop()
	}
	for len(p.idle) > 0 {
		p.destroy(p.unidle(0))
	}
	for _, w := range p.waiters {
		w <- offer{err: ErrPoolClosed}
	}
	for _, w := range p.warmers {
		w <- ErrPoolClosed
	}
	p.waiters, p.warmers = nil, nil
	for p.working > 0 || p.offered > 0 {
		p.quiet.Wait()
	}
	p.vms.close() // nothing is started any more
	return nil
}
