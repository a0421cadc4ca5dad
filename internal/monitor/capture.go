package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/snapshot"
	"github.com/holtvm/holt/internal/state"
)

// capture stands the machine still and calls keep with what it consists of. The guest
// goes on when keep returns, unless it was paused before. The context that keep gets ends
// with ctx, and when somebody kills the VM, which then has to wait for keep. stood is for
// how long the machine stood still.
func (i *instance) capture(ctx context.Context, op state.Operation, keep keeper) (stood time.Duration, err error) {
	done, err := i.turn(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	vm, err := i.saver(op)
	if err != nil {
		return 0, err
	}
	if i.spec.Nested { // before it is held up in vain
		return 0, errors.New("a VM with a nested hypervisor cannot be saved")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(i.alive, func() { cancel(context.Cause(i.alive)) })()
	if i.state() == state.Paused {
		begin := time.Now()
		err := i.save(ctx, vm, 0, keep)
		return time.Since(begin), err
	}
	for try := 1; ; try++ {
		stood, err = i.captureRunning(ctx, vm, try == freezeTries, keep)
		if !errors.Is(err, errNotHeld) || ctx.Err() != nil {
			return stood, err
		}
		i.log.Debug("the guest's programs are to be held once more", "try", try, "error", err)
	}
}

// keeper keeps what a machine that stands still consists of.
type keeper = func(ctx context.Context, state []byte, mem *guestmem.Memory) error

// captureRunning is capture for a machine that runs. The error is errNotHeld if the
// guest's programs could not be held in time, unless that is not to matter any more.
func (i *instance) captureRunning(ctx context.Context, vm hypervisor.Saver, anyway bool, keep keeper) (stood time.Duration, err error) {
	asked := time.Now()
	box, err := i.freeze(ctx, vm)
	if errors.Is(err, errNotHeld) && !anyway {
		return 0, err
	}
	if err != nil {
		i.log.Warn("the guest's programs are not held while it is saved", "error", err)
	}
	letGo := func() { // a guest that has ended needs no word
		_ = vm.Look(func(mem *guestmem.Memory) error { box.goOn(mem); return nil })
	}
	begin := time.Now()
	if err := vm.Pause(ctx); err != nil {
		letGo()
		return 0, err
	}
	defer func() {
		if errors.Is(err, guestmem.ErrLost) {
			return // it is being killed
		}
		letGo()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resumeTime)
		defer cancel()
		err = errors.Join(err, vm.Resume(ctx))
		stood = time.Since(begin)
	}()
	late := time.Since(asked) > heldLate
	return 0, i.save(ctx, vm, box, func(ctx context.Context, state []byte, mem *guestmem.Memory) error {
		switch frozen, _ := box.frozen(mem); {
		case box == 0:
		case !anyway && (!frozen || late):
			return fmt.Errorf("%w until it stood still", errNotHeld)
		case !frozen:
			i.log.Warn("the guest's programs were not held long enough for it to be saved")
		}
		return keep(ctx, state, mem)
	})
}

// save calls keep with what the machine, which stands still, consists of. box is where
// its agent was to hold the programs.
func (i *instance) save(ctx context.Context, vm hypervisor.Saver, box mailbox, keep keeper) error {
	return vm.Save(func(machine []byte, mem *guestmem.Memory) error {
		if frozen, _ := box.frozen(mem); !frozen {
			box = 0
		}
		b, err := saved{
			Devices: i.asm.deviceNames(), Mailbox: uint64(box), MAC: i.asm.mac(), Program: i.hasProgram(), machine: machine,
		}.encode()
		if err != nil {
			return err
		}
		return keep(ctx, b, mem)
	})
}

// saver returns the machine, if it can be saved, of a VM that is in the state for an
// operation.
func (i *instance) saver(op state.Operation) (hypervisor.Saver, error) {
	vm, err := i.machine(op)
	if err != nil {
		return nil, err
	}
	saver, ok := vm.(hypervisor.Saver)
	if !ok {
		return nil, errCannotSave(i.backend())
	}
	return saver, nil
}

// hasProgram reports whether the main program was started.
func (i *instance) hasProgram() bool { return i.program.ran() && !i.spec.Hold }

// errCannotSave says that a VM cannot be saved on its backend.
func errCannotSave(backend string) error {
	return fmt.Errorf("the %s backend cannot save a VM: snapshots and forks need the kvm backend", backend)
}

// snapshot writes the VM to the directory of a snapshot that somebody makes. With
// parent, which must be the snapshot that the memory's files are of, only what
// changed since is written. With rebase the VM goes on from the snapshot's own file,
// so that the next one can be saved so: id is the snapshot's.
func (i *instance) snapshot(ctx context.Context, dir, id, parent string, rebase bool) (c control.Captured, err error) {
	c.Paused, err = i.capture(ctx, state.Snapshot, func(ctx context.Context, state []byte, mem *guestmem.Memory) error {
		if parent != "" && parent != i.base {
			return fmt.Errorf("the VM's memory is not that of snapshot %s any more: take a whole one", parent)
		}
		if err := writeFile(filepath.Join(dir, snapshot.State), state); err != nil {
			return err
		}
		if c.Disks, err = i.asm.saveDisks(ctx, func(name string) (*os.File, error) {
			return os.OpenFile(filepath.Join(dir, snapshot.DiskSection(name)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		}, func(f *os.File) error { return f.Close() }); err != nil {
			return err
		}
		img, err := writeMemory(ctx, mem, dir, parent != "")
		if err != nil {
			return err
		}
		if rebase {
			return i.rebase(mem, img, id)
		}
		return img.Layers[len(img.Layers)-1].File.Close()
	})
	if err != nil {
		return c, err
	}
	c.Program = i.hasProgram()
	if saver, ok := i.vm.(hypervisor.Saver); ok {
		c.CPUFeatures = saver.Features()
	}
	return c, nil
}

// writeMemory writes guest memory to a new file in dir: all of it, or what changed since
// the image that it has now, and which pages that is. It returns the image with that
// file, which is open.
func writeMemory(ctx context.Context, mem *guestmem.Memory, dir string, changes bool) (*guestmem.Image, error) {
	f, err := os.OpenFile(filepath.Join(dir, snapshot.Memory), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	img, runs, err := layer(ctx, mem, f, changes)
	if err == nil && changes {
		err = writeFile(filepath.Join(dir, snapshot.Pages), guestmem.EncodeRuns(runs))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return img, nil
}

// layer writes guest memory to a new file f, and returns the image that has it on top.
func layer(ctx context.Context, mem *guestmem.Memory, f *os.File, changes bool) (*guestmem.Image, []guestmem.Run, error) {
	img := &guestmem.Image{Size: mem.Size()}
	if !changes {
		runs, err := mem.WriteImage(ctx, f)
		img.Layers = []guestmem.Layer{{File: f}}
		return img, runs, err
	}
	runs, err := mem.WriteChanges(ctx, f)
	if runs == nil {
		runs = []guestmem.Run{}
	}
	img.Layers = append(append(img.Layers, mem.Image().Layers...), guestmem.Layer{File: f, Runs: runs})
	return img, runs, err
}

// rebase makes the files of an image those of the machine's memory, and takes charge of
// the topmost one. They stay open as long as they are; snapshot is the id of the snapshot
// that they are of, if any. A machine whose memory is lost on the way is killed.
func (i *instance) rebase(mem *guestmem.Memory, img *guestmem.Image, snapshot string) error {
	top := img.Layers[len(img.Layers)-1].File
	if err := mem.Rebase(img); err != nil {
		top.Close()
		if errors.Is(err, guestmem.ErrLost) {
			i.kill(err)
		}
		return err
	}
	i.asm.memory = slices.DeleteFunc(append(i.asm.memory, top), func(f *os.File) bool {
		used := slices.ContainsFunc(img.Layers, func(l guestmem.Layer) bool { return l.File == f })
		if !used {
			_ = f.Close() // else a VM that is forked again and again keeps all that it ever was
		}
		return !used
	})
	i.base = snapshot
	return nil
}

func writeFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
