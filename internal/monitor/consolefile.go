package monitor

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/outlog"
)

const (
	// fileSize bounds the console_output file, in bytes: a guest can print for
	// ever, and the disk is the host's.
	fileSize = 256 << 20
	// fileBuffer is how much may wait to be written to it, in bytes. The guest's
	// console has half of that, so that it cannot keep the program's output out.
	fileBuffer    = 1 << 20
	consoleBuffer = fileBuffer / 2
	// writeSize is how much is written at once, in bytes, and readerTime how long that
	// may take when the guest is dead.
	writeSize  = 64 << 10
	readerTime = time.Second
)

// fullMark ends a file that got no more than it may hold.
const fullMark = "\n[holt: console_output is full; what follows is lost]\n"

// lostMark is where something is missing, so many bytes.
const lostMark = "\n[holt: %d bytes of the guest's console are lost: it printed faster than they could be written]\n"

// consoleFile writes a file that the guest's console goes to, on a goroutine of its
// own: console_output, or the console's log of a VM that is kept.
type consoleFile struct {
	log  *slog.Logger
	name string // for the log
	file io.WriteCloser
	done chan struct{} // closed when the file is

	mu      sync.Mutex
	changed sync.Cond // waiting or ended did
	waiting []byte    // what is not written yet
	room    int       // what the file may still get, bytes
	lost    int       // bytes that found the buffer full
	ended   bool      // nothing more is taken
	writes  int       // how many there were
}

// openConsoleFile creates or truncates the file at path. If it is a FIFO somebody
// must read it already: nothing would end the wait for one.
func openConsoleFile(path string, log *slog.Logger) (*consoleFile, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NONBLOCK, 0o644)
	switch {
	case errors.Is(err, unix.ENXIO):
		return nil, fmt.Errorf("console_output: %s: nobody reads this FIFO: start its reader first", path)
	case err != nil:
		return nil, fmt.Errorf("console_output: %w", err)
	}
	return newConsoleFile("console_output", file, fileSize, log), nil
}

// newConsoleFile writes to file, at most so many bytes.
func newConsoleFile(name string, file io.WriteCloser, most int, log *slog.Logger) *consoleFile {
	f := &consoleFile{log: log, name: name, file: file, done: make(chan struct{}), room: most}
	f.changed.L = &f.mu
	go f.write()
	return f
}

// consoleLog is the console's part of the logs of a VM that is kept, as a file.
type consoleLog struct{ *outlog.Writer }

// Write implements io.Writer. It never fails: the log marks what is missing.
func (c consoleLog) Write(b []byte) (int, error) {
	_ = c.Writer.Write(outlog.Console, time.Now(), b)
	return len(b), nil
}

// add appends p to the file. It waits while the buffer is full.
func (f *consoleFile) add(p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.ended && !f.fits(p, fileBuffer) {
		f.changed.Wait()
	}
	f.put(p)
}

// offer appends p to the file unless the console's part of the buffer is full.
func (f *consoleFile) offer(p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.fits(p, consoleBuffer) {
		f.lost += len(p)
		return
	}
	f.put(p)
}

// fits reports whether p may be buffered with room for most bytes. An empty buffer
// takes anything.
func (f *consoleFile) fits(p []byte, most int) bool {
	return len(f.waiting) == 0 || len(f.waiting)+len(p) <= most
}

// put buffers p, cut to what the file may hold.
func (f *consoleFile) put(p []byte) {
	if f.ended {
		return
	}
	if f.lost > 0 {
		p = append(fmt.Appendf(nil, lostMark, f.lost), p...)
		f.lost = 0
	}
	n := min(len(p), f.room)
	f.room -= n
	f.waiting = append(f.waiting, p[:n]...)
	if n < len(p) {
		f.waiting = append(f.waiting, fullMark...)
		f.ended = true
		f.log.Warn(f.name+" is full", "bytes", fileSize)
	}
	f.changed.Broadcast()
}

// write writes what is buffered until the file has ended.
func (f *consoleFile) write() {
	defer close(f.done)
	defer f.file.Close()
	var b []byte
	for {
		f.mu.Lock()
		for len(f.waiting) == 0 && !f.ended {
			f.changed.Wait()
		}
		b, f.waiting = f.waiting, b[:0]
		f.changed.Broadcast()
		f.mu.Unlock()
		if len(b) == 0 {
			return
		}
		for part := range slices.Chunk(b, writeSize) {
			if _, err := f.file.Write(part); err != nil {
				f.log.Error(f.name+" is no longer written", "error", err)
				f.end()
				return
			}
			f.mu.Lock()
			f.writes++
			f.mu.Unlock()
		}
	}
}

// hurry abandons the file as soon as a write takes longer than readerTime. It returns
// then, or when the file is closed.
func (f *consoleFile) hurry() {
	for before := -1; ; {
		f.mu.Lock()
		now := f.writes
		f.mu.Unlock()
		if now == before {
			f.abandon()
			return
		}
		before = now
		select {
		case <-time.After(readerTime):
		case <-f.done:
			return
		}
	}
}

// end lets nothing more in.
func (f *consoleFile) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost > 0 {
		f.put(nil)
	}
	f.ended = true
	f.changed.Broadcast()
}

// abandon gives up what a FIFO's reader or a terminal does not take. A file on a disk
// gets everything all the same.
func (f *consoleFile) abandon() {
	if file, ok := f.file.(*os.File); ok {
		_ = file.SetWriteDeadline(time.Now())
	}
}

// Close returns when everything is written and the file is closed.
func (f *consoleFile) Close() {
	f.end()
	<-f.done
}
