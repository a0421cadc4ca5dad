// Package eventlog keeps what happened to VMs: a file of JSON lines in Holt's data
// directory, to which every process appends, and the file before it (see
// internal/logfile). There is no daemon: who writes takes a lock for the moment.
package eventlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/logfile"
)

// What can happen to a VM.
const (
	Create  = "create"
	Start   = "start"
	Pause   = "pause"
	Resume  = "resume"
	Stop    = "stop" // somebody asked for it
	Kill    = "kill" // somebody sent a signal
	Die     = "die"  // the VM ended
	Exec    = "exec"
	ExecEnd = "exec-end"
	Rename  = "rename"
	Remove  = "remove"

	Snapshot = "snapshot" // of the VM
	Fork     = "fork"
	Copy     = "copy"
)

const (
	// maxFile is when another file begins, in bytes.
	maxFile = 4 << 20
	// maxEvent is the longest line, in bytes.
	maxEvent = 4 << 10
)

// Event is something that happened to a VM.
type Event struct {
	Time       time.Time         `json:"time"`
	Action     string            `json:"action"`
	ID         string            `json:"id"`
	Name       string            `json:"name,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Append writes e to the log in the directory dir, which it makes if it is missing.
// A time of zero is now.
// Attributes are cut where they make the event longer than 4 KiB; it is an error if
// it is too long without them.
func Append(dir string, e Event) error {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC()
	line, err := encode(e)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if err := appendLine(filepath.Join(dir, fileName), line); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}

const fileName = "events.log"

// encode returns e as a line.
func encode(e Event) ([]byte, error) {
	for most := maxEvent; ; most /= 2 {
		attributes := make(map[string]string, len(e.Attributes))
		for k, v := range e.Attributes {
			attributes[k] = cut(v, most)
		}
		whole := e
		whole.Attributes = attributes
		line, err := json.Marshal(whole)
		switch {
		case err != nil:
			return nil, err
		case len(line) < maxEvent:
			return append(line, '\n'), nil
		case most == 0:
			return nil, fmt.Errorf("%d bytes without the attributes' values: at most %d are kept", len(line), maxEvent)
		}
	}
}

// cut cuts text to most bytes, and says so with an ellipsis.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}

// appendLine appends line to the log at path.
func appendLine(path string, line []byte) error {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		done, err := appendTo(f, line)
		f.Close() // gives up the lock
		if done || err != nil {
			return err
		}
	}
}

// appendTo appends line to the file f under its lock, unless f was the log's file no
// more or is full, in which case it is made the old file.
func appendTo(f *os.File, line []byte) (done bool, err error) {
	if err := lock(f); err != nil {
		return false, err
	}
	ours, err := f.Stat()
	if err != nil {
		return false, err
	}
	current, err := os.Stat(f.Name())
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil || !os.SameFile(ours, current) {
		return false, err
	}
	size := ours.Size()
	if size+int64(len(line)) > maxFile {
		return false, os.Rename(f.Name(), logfile.OldName(f.Name()))
	}
	if size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err != nil {
			return false, err
		}
		if last[0] != '\n' { // a crash or a full disk cut the last event off
			line = append([]byte{'\n'}, line...)
		}
	}
	_, err = f.Write(line)
	return err == nil, err
}

// lock waits for the lock of f. Nobody holds it longer than a write takes.
func lock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
}
