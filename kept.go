package holt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/holtvm/holt/internal/state"
)

// State is where a VM is in its life.
type State string

// The states of a VM.
const (
	StateCreated  State = "created"  // never started
	StateStarting State = "starting" // on its way to running
	StateRunning  State = "running"  // its program runs
	StatePaused   State = "paused"   // its processors stand still
	StateStopping State = "stopping" // asked to end
	StateStopped  State = "stopped"  // ended, in whichever way
)

// Info is what is known about a VM.
type Info struct {
	ID      string    `json:"id"`             // 12 hexadecimal digits
	Name    string    `json:"name,omitempty"` // empty if it has none
	State   State     `json:"state"`
	Created time.Time `json:"created"`
	Kept    bool      `json:"kept"` // it stays when it has ended, see Create
	// AutoRemove says that a VM that is kept goes all the same when it has ended.
	AutoRemove bool   `json:"auto_remove,omitempty"`
	Backend    string `json:"backend,omitempty"` // kvm or qemu, once it was started
	Stdin      bool   `json:"stdin,omitempty"`   // its program has an input
	Terminal   bool   `json:"terminal,omitempty"`
	MonitorPID int    `json:"monitor_pid,omitempty"` // of one that runs

	Started  time.Time `json:"started,omitzero"`  // the last time
	Finished time.Time `json:"finished,omitzero"` // likewise
	// ExitStatus is how the last run ended, as a shell would tell; nil if there was
	// none, or it goes on. Error says why, if it was not the program's end.
	ExitStatus *int   `json:"exit_status,omitempty"`
	Error      string `json:"error,omitempty"`

	Directory string `json:"directory"` // where its files are on the host
	Config    Config `json:"config"`
}

// Label is how the VM is called: by its name or, without one, its id.
func (i Info) Label() string {
	if i.Name != "" {
		return i.Name
	}
	return i.ID
}

// Create makes a VM that is kept: it lives on when this process ends, it can be
// started any number of times, and it stays until it is removed. [VM.Start] starts
// it. A name that is in use is ErrExists.
func Create(ctx context.Context, cfg Config, opts ...Option) (*VM, error) {
	vm, err := New(cfg, opts...)
	if err != nil {
		return nil, err
	}
	if err := vm.keep(ctx); err != nil {
		return nil, err
	}
	return vm, nil
}

// keep makes the directory of a VM that is kept.
func (vm *VM) keep(ctx context.Context) error {
	config, err := json.Marshal(vm.config)
	if err != nil {
		return err
	}
	how, err := json.Marshal(vm.options.record(vm.options.stdin, vm.options.terminal))
	if err != nil {
		return err
	}
	store, err := openStore()
	if err != nil {
		return err
	}
	dir, err := store.Create(ctx, state.Record{
		Name: vm.options.name, Kept: true, Remove: vm.options.autoRemove, Config: config, Options: how,
	})
	if err != nil {
		return taken(err)
	}
	dir.Unlock()
	vm.dir = dir
	note(eventCreate, dir.Record)
	return nil
}

// taken makes ErrExists of a name that is in use.
func taken(err error) error {
	if exists, ok := errors.AsType[*state.ExistsError](err); ok {
		return fmt.Errorf("%w: %w", ErrExists, exists)
	}
	return err
}

// notFound makes ErrNotFound of a VM that is not there.
func notFound(err error) error {
	if errors.Is(err, state.ErrNotFound) {
		return &notFoundError{err}
	}
	return err
}

// notFoundError is ErrNotFound in other words.
type notFoundError struct{ error }

// Is implements what errors.Is asks for.
func (*notFoundError) Is(target error) bool { return target == ErrNotFound }

// Open returns the VM with a name, an id, or the only id that begins so (with 4
// digits or more). ErrNotFound says that there is none. Options are those of the holt
// binary, which is looked for when Start needs it, and of where the monitor runs; the
// rest was decided by Create.
func Open(_ context.Context, name string, opts ...Option) (*VM, error) {
	o, err := collect(opts)
	if err != nil {
		return nil, err
	}
	store, err := openStore()
	if err != nil {
		return nil, err
	}
	dir, err := store.Find(name)
	if err != nil {
		return nil, notFound(err)
	}
	vm := &VM{options: o, dir: dir, started: true}
	if err := json.Unmarshal(dir.Record.Config, &vm.config); err != nil {
		// It can still be looked at, stopped and removed.
		vm.broken = fmt.Errorf("VM %s: its configuration: %w", dir.Record.Label(), err)
	}
	return vm, nil
}

// List returns what is known about all VMs of this user, oldest first.
func List(ctx context.Context) ([]Info, error) {
	store, err := openStore()
	if err != nil {
		return nil, err
	}
	dirs, err := store.List()
	if err != nil {
		return nil, err
	}
	var list []Info
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		info, err := inspect(dir)
		if errors.Is(err, state.ErrNotFound) || err == nil && !info.Kept && info.State == StateStopped {
			continue // it was just removed, or will be by the next command
		}
		if err != nil {
			info.Error = err.Error() // one VM's files are no reason to show none
		}
		list = append(list, info)
	}
	return list, nil
}

// ID is the VM's id, 12 hexadecimal digits. It is empty before the start of a VM that
// is not kept.
func (vm *VM) ID() string {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.dir == nil {
		return ""
	}
	return vm.dir.Record.ID
}

// Name is the VM's name or, without one, its id.
func (vm *VM) Name() string {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.dir == nil {
		return vm.options.name
	}
	return vm.dir.Record.Label()
}

// Info returns what is known about the VM now.
func (vm *VM) Info(context.Context) (Info, error) {
	vm.mu.Lock()
	dir := vm.dir
	vm.mu.Unlock()
	if dir == nil {
		return Info{Name: vm.options.name, State: StateCreated, Config: vm.Config()}, nil
	}
	now, err := state.Load(dir.Path) // somebody may have renamed it
	if err != nil {
		return Info{}, notFound(err)
	}
	info, err := inspect(now)
	return info, notFound(err)
}

func inspect(dir *state.Dir) (Info, error) {
	r := dir.Record
	info := Info{ID: r.ID, Name: r.Name, State: StateStopped, Created: r.Created, Kept: r.Kept, AutoRemove: r.Remove, Directory: dir.Path}
	s, err := dir.Status()
	if err != nil {
		return info, err
	}
	info.State, info.Backend, info.Started, info.Finished = State(s.State), s.Backend, s.Started, s.Finished
	if err := json.Unmarshal(r.Config, &info.Config); err != nil {
		return info, fmt.Errorf("VM %s: its configuration: %w", r.Label(), err)
	}
	var how launch
	if err := json.Unmarshal(r.Options, &how); err != nil {
		return info, fmt.Errorf("VM %s: its record: %w", r.Label(), err)
	}
	info.Stdin, info.Terminal = how.Stdin, how.Terminal != nil
	if s.State.Live() {
		info.MonitorPID = s.Monitor
	}
	if s.End != nil && !s.State.Live() {
		status := ExitStatus(endError(*s.End))
		info.ExitStatus, info.Error = &status, s.End.Error
	}
	return info, nil
}

// Rename gives the VM another name; an empty one takes its name away. A name that is
// in use is ErrExists.
func (vm *VM) Rename(ctx context.Context, name string) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.dir == nil {
		return ErrNotRunning
	}
	store, err := openStore()
	if err != nil {
		return err
	}
	before := vm.dir.Record.Label()
	if err := store.Rename(ctx, vm.dir, name); err != nil {
		return notFound(taken(err))
	}
	note(eventRename, vm.dir.Record, "old", before)
	return nil
}

// Remove removes a VM that does not run and all that was kept of it. With force, one
// that runs is killed first.
func (vm *VM) Remove(ctx context.Context, force bool) error {
	vm.mu.Lock()
	if vm.dir == nil {
		vm.mu.Unlock()
		return ErrNotRunning
	}
	dir := *vm.dir
	vm.mu.Unlock()
	killed := false
	for {
		err := vm.lock(ctx, &dir, state.Remove)
		if killed && errors.Is(err, ErrNotFound) {
			return nil // by its monitor, or by its client
		}
		if _, ok := errors.AsType[*StateError](err); !ok || !force {
			if err != nil {
				return err
			}
			break
		}
		// One that ends by itself meanwhile is as well.
		if err := vm.Kill(); err != nil && !errors.Is(err, ErrNotRunning) {
			return err
		}
		killed = true
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if err := dir.Remove(); err != nil {
		return fmt.Errorf("remove VM %s: %w", dir.Record.Label(), err)
	}
	note(eventRemove, dir.Record)
	return nil
}

// Restart is Shutdown, if the VM runs, and Start. One that is not kept is left alone.
func (vm *VM) Restart(ctx context.Context, grace time.Duration) error {
	vm.mu.Lock()
	once := vm.dir != nil && !vm.dir.Record.Kept
	vm.mu.Unlock()
	if once {
		return ErrStarted
	}
	if err := vm.Shutdown(ctx, grace); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	return vm.Start(ctx)
}

// Prune removes the VMs that have ended and, with created, those that were never
// started, and what dead VMs and interrupted commands left behind. It returns the
// names of the VMs that it removed.
func Prune(ctx context.Context, created bool) (removed []string, err error) {
	store, err := openStore()
	if err != nil {
		return nil, err
	}
	if _, err := store.Sweep(); err != nil {
		return nil, err
	}
	dirs, err := store.List()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, dir := range dirs {
		s, err := dir.Status()
		if err != nil || s.State != state.Stopped && !(created && s.State == state.Created) {
			continue // it is being removed, or not to be
		}
		vm := &VM{dir: dir, started: true}
		err = vm.Remove(ctx, false)
		if _, started := errors.AsType[*StateError](err); started || errors.Is(err, ErrNotFound) {
			continue // by somebody else, this moment
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, dir.Record.Label())
	}
	return removed, errors.Join(errs...)
}
