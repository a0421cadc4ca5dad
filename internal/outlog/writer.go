package outlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/holtvm/holt/internal/logfile"
)

const (
	// DefaultLimit is how much a log may hold, in bytes, when nothing else is said.
	DefaultLimit = 16 << 20
	// MinLimit is the lowest limit of a log, in bytes.
	MinLimit = 256 << 10
)

// lostMark is where something is missing, so many bytes.
const lostMark = "\n[holt: %d bytes are missing here: the log could not be written]\n"

// Writer writes a log. It may be used by several goroutines, but not together with
// another Writer of the same log.
type Writer struct {
	path  string
	limit int64

	mu   sync.Mutex
	file *os.File
	size int64  // of the records in file, bytes
	torn bool   // a part of a record may follow them
	buf  []byte // what is written at once
	lost int    // bytes that were not written since the last record
	from Stream // where the last of them came from
}

// Open opens the log dir/name.log, or makes it. What a crash left of a record at its
// end is cut off. The log never holds more than limit bytes in its two files
// together, the oldest going first; 0 is DefaultLimit, and anything less than
// MinLimit is MinLimit.
func Open(dir, name string, limit int64) (*Writer, error) {
	if limit == 0 {
		limit = DefaultLimit
	}
	w := &Writer{path: logPath(dir, name), limit: max(limit, MinLimit)}
	var err error
	if w.file, err = os.OpenFile(w.path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if err := w.repair(); err != nil {
		w.file.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	return w, nil
}

func logPath(dir, name string) string { return filepath.Join(dir, name+".log") }

// repair finds the end of the last record and cuts off what follows it.
func (w *Writer) repair() error {
	records := scanner{file: w.file}
	for {
		_, err := records.next()
		if errors.Is(err, io.EOF) {
			return w.file.Truncate(w.size)
		}
		if err != nil {
			return err
		}
		w.size = records.offset
	}
}

// Write appends p to a stream, as printed at a time. If that is impossible, because
// the disk is full perhaps, p is lost; what the log holds is not, and the next Write
// that succeeds also says in the log how many bytes are missing.
func (w *Writer) Write(s Stream, at time.Time, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(p) > 0 {
		n := min(len(p), maxText)
		if err := w.put(record{at, s, p[:n]}); err != nil {
			w.lost, w.from = w.lost+len(p), s
			return fmt.Errorf("write log: %w", err)
		}
		p = p[n:]
	}
	return nil
}

// put writes one record, and before it a mark if something was lost.
func (w *Writer) put(r record) error {
	w.buf = w.buf[:0]
	if w.lost > 0 {
		w.mark(r.at)
	}
	w.buf = appendRecord(w.buf, r)
	return w.flush()
}

// mark puts into buf that something was lost. It stays out of the program's standard
// output, which may be data.
func (w *Writer) mark(at time.Time) {
	to := w.from
	if to == Stdout {
		to = Stderr
	}
	w.buf = appendRecord(w.buf, record{at, to, fmt.Appendf(nil, lostMark, w.lost)})
}

// flush writes buf, all of it or nothing that a reader would see.
func (w *Writer) flush() error {
	if w.size+int64(len(w.buf)) > w.limit/2 {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	if w.torn {
		if err := w.file.Truncate(w.size); err != nil {
			return err
		}
	}
	n, err := w.file.WriteAt(w.buf, w.size)
	if w.torn = err != nil && n > 0; err != nil {
		return err
	}
	w.size += int64(n)
	w.lost = 0
	return nil
}

// rotate makes the file the old one and begins a new one. The new one is made
// first: if there is no room for it, everything stays as it was.
func (w *Writer) rotate() error {
	temp := w.path + ".new"
	next, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = os.Rename(w.path, logfile.OldName(w.path))
	if err == nil || errors.Is(err, os.ErrNotExist) { // an attempt before came so far
		err = os.Rename(temp, w.path)
	}
	if err != nil {
		next.Close()
		return err
	}
	w.file.Close()
	w.file, w.size, w.torn = next, 0, false
	return nil
}

// Close closes the log. A Write after it fails.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	if w.lost > 0 {
		w.buf = w.buf[:0]
		w.mark(time.Now())
		err = w.flush()
	}
	return errors.Join(err, w.file.Close())
}
