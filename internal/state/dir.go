package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/atomicfile"
)

const (
	lockName   = "lock"
	recordName = "vm.json"
	statusName = "state.json"

	// maxFile bounds what is read of a record or a status, in bytes.
	maxFile = 8 << 20
)

// ErrBusy says that somebody else is in charge of a VM.
var ErrBusy = errors.New("another process is in charge of the VM")

// ErrNotFound says that there is no such VM.
var ErrNotFound = errors.New("no such VM")

// Dir is a VM's own directory.
type Dir struct {
	Path   string
	Record Record
	// Lock is the locked file, or nil when this process is not in charge. Whoever
	// has it open, in whichever process, keeps the VM alive in the eyes of others.
	Lock *os.File
}

// openLock opens the lock file of a directory.
func openLock(dir string, flags int) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|unix.O_NOFOLLOW|flags, 0o600)
}

// setLock takes the lock without waiting. The lock belongs to the open file, so it
// goes with the descriptor to another process; unlike flock's it can be asked for
// without being taken.
func setLock(f *os.File) error {
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrBusy
	}
	return err
}

// Held reports whether somebody is in charge of the VM.
func (d *Dir) Held() (bool, error) {
	f, err := openLock(d.Path, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("VM %s: %w", d.Record.Label(), ErrNotFound)
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		return false, &os.PathError{Op: "look at lock", Path: f.Name(), Err: err}
	}
	return l.Type != unix.F_UNLCK, nil
}

// HeldBy reports whether a process has the lock's file open, as one that is in charge
// of the VM has.
func (d *Dir) HeldBy(pid int) bool {
	lock, err := os.Stat(filepath.Join(d.Path, lockName))
	if err != nil {
		return false
	}
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return err == nil && slices.ContainsFunc(open, func(fd string) bool {
		f, err := os.Stat(fd)
		return err == nil && os.SameFile(lock, f)
	})
}

func (d *Dir) heldByOthers() (bool, error) {
	if d.Lock != nil {
		return false, nil
	}
	return d.Held()
}

// TryLock puts this process in charge of the VM. It fails with ErrBusy when another
// one is, and with ErrNotFound when the VM was removed meanwhile.
func (d *Dir) TryLock() error {
	f, err := openLock(d.Path, 0)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("VM %s: %w", d.Record.Label(), ErrNotFound)
	}
	if err != nil {
		return err
	}
	if err := setLock(f); err != nil {
		f.Close()
		return fmt.Errorf("lock VM %s: %w", d.Record.Label(), err)
	}
	// Whoever removed it held the lock, and renamed the directory before.
	mine, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Lstat(f.Name()); err == nil && !os.SameFile(mine, there) {
			err = os.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("VM %s: %w", d.Record.Label(), ErrNotFound)
	}
	d.Lock = f
	return nil
}

// Unlock gives the lock up, as far as this process goes.
func (d *Dir) Unlock() {
	if d.Lock != nil {
		_ = d.Lock.Close()
		d.Lock = nil
	}
}

// SetStatus writes the status. The lock must be held, here or by a parent process.
func (d *Dir) SetStatus(s Status) error {
	s.Version, s.BootID = Version, bootID()
	return d.write(statusName, s)
}

func (d *Dir) write(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(d.Path, name)
	if d.Record.Kept {
		return atomicfile.WriteFile(path, append(text, '\n'), 0o600)
	}
	// After a crash of the machine this VM is gone anyway: nothing is synced.
	temp := path + ".new"
	if err := os.WriteFile(temp, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

func (d *Dir) read(name string, into any) error {
	f, err := os.OpenFile(filepath.Join(d.Path, name), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return err
	}
	var v struct{ Version int }
	if err := json.Unmarshal(bytes.TrimSpace(b), &v); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if v.Version != Version {
		return fmt.Errorf("%s: version %d, and this holt knows version %d: use the holt that made it", f.Name(), v.Version, Version)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	return nil
}

// Status reads how far the VM got, and checks it against the lock: a VM that nobody
// is in charge of does not run, nor does one whose lock this Dir holds.
func (d *Dir) Status() (Status, error) {
	for range 100 {
		held, err := d.heldByOthers()
		if err != nil {
			return Status{}, err
		}
		var s Status
		err = d.read(statusName, &s)
		if errors.Is(err, os.ErrNotExist) {
			s, err = Status{State: Created}, nil
		}
		if err != nil {
			if held, herr := d.heldByOthers(); herr != nil {
				return s, herr // it was removed
			} else if held {
				return s, err
			}
			// Nobody can have a status that is not readable: a crash of the host.
			return Status{State: Stopped, End: &End{Error: err.Error()}}, nil
		}
		if held || !s.State.Live() {
			if held && s.State == Created {
				s.State = Starting // its starter has it in hand
			}
			return s, nil
		}
		// The monitor may have ended, or begun, between the two looks.
		if again, err := d.heldByOthers(); err != nil {
			return s, err
		} else if again {
			continue
		}
		var same Status
		if err := d.read(statusName, &same); err == nil && same.State == s.State && same.Monitor == s.Monitor {
			return s.orphaned(), nil
		}
	}
	return Status{}, fmt.Errorf("the state of VM %s does not stand still", d.Record.Label())
}

// orphaned is the status of a VM whose monitor is gone without a word.
func (s Status) orphaned() Status {
	why := "the VM's monitor died (see monitor.log in the VM's directory)"
	switch {
	case s.BootID != bootID():
		why = "the host was restarted while the VM ran"
	case s.State == Starting:
		why = "the VM's start was cut off"
	}
	s.State, s.End = Stopped, &End{Error: why}
	return s
}

// WaitFree waits until nobody is in charge of the VM, until somebody has started it
// again, so that another run than this one goes on, or until the VM is gone.
func (d *Dir) WaitFree(run string, done <-chan struct{}) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		held, err := d.Held()
		if err != nil || !held {
			return err
		}
		if s, err := d.Status(); err == nil && s.State.Live() && s.Run != run {
			return nil
		}
		select {
		case <-tick.C:
		case <-done:
			return ErrBusy
		}
	}
}

// bootID is the host's boot id, or nothing if it has none.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}
