// Package logfile reads logs that consist of two files: the one that is written,
// and the one before it, whose name ends in ".1". Whoever writes renames the first
// one to the second's name when it is full, and begins anew.
//
// A reader takes no lock. It holds the files open and finds what comes after one by
// its identity, so that a rotation makes it neither miss nor repeat anything; only
// what is overwritten before it got there is lost to it.
package logfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// pollInterval is how often a log that is followed is looked at.
const pollInterval = 50 * time.Millisecond

// OldName is the name of the file before the one at path.
func OldName(path string) string { return path + ".1" }

// Covers reports whether t is not before since and before until. A bound that is
// zero is none.
func Covers(since, until, t time.Time) bool {
	return !t.Before(since) && (until.IsZero() || t.Before(until))
}

// A Scan reads the whole records of file from offset on. It returns the offset of
// what it leaves: a record that is not whole yet, or the end.
type Scan func(file io.ReaderAt, offset int64) (int64, error)

// Log is a log that is being read.
type Log struct {
	path   string
	files  []*os.File // the oldest first
	sizes  []int64    // what was in them at Open, bytes
	offset int64      // how far the last file was read
}

// Open opens the files of the log at path, of which none need exist.
func Open(path string) (*Log, error) {
	l := &Log{path: path}
	for {
		f, err := l.successor()
		if err != nil {
			l.Close()
			return nil, err
		}
		if f == nil {
			break
		}
		l.files = append(l.files, f)
	}
	// A file that has a successor is complete, so the sizes come last.
	for _, f := range l.files {
		info, err := f.Stat()
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("open log: %w", err)
		}
		l.sizes = append(l.sizes, info.Size())
	}
	return l, nil
}

// Close closes the files.
func (l *Log) Close() {
	for _, f := range l.files {
		f.Close()
	}
}

// Exists reports whether there was a file at Open.
func (l *Log) Exists() bool { return len(l.sizes) > 0 }

// Read scans what was in the log at Open, each time that it is called.
func (l *Log) Read(scan Scan) error {
	for i, f := range l.files {
		var err error
		if l.offset, err = scan(io.NewSectionReader(f, 0, l.sizes[i]), 0); err != nil {
			return err
		}
	}
	return nil
}

// Follow goes on after Read and scans what is added, until ended has reported that
// nothing more will be and that is all read, or until ctx is done, whose cause it
// returns then. A log that does not exist is waited for.
func (l *Log) Follow(ctx context.Context, ended func() bool, scan Scan) error {
	for {
		// Both are asked before the file is read: what was written until then is
		// found there.
		last := ended()
		next, err := l.successor()
		if err != nil {
			return err
		}
		if f := l.newest(); f != nil {
			l.offset, err = scan(f, l.offset)
		}
		if next != nil {
			l.Close()
			l.files, l.offset = []*os.File{next}, 0
		}
		switch {
		case err != nil:
			return err
		case next != nil:
			continue
		case last:
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollInterval):
		}
	}
}

// newest is the last of the files, or nil.
func (l *Log) newest() *os.File {
	if len(l.files) == 0 {
		return nil
	}
	return l.files[len(l.files)-1]
}

// successor opens the file that comes after the newest one. It is nil while there
// is none. If the newest one was overwritten meanwhile, or none was read yet, that
// is the oldest file there is.
func (l *Log) successor() (*os.File, error) {
	newest := l.newest()
	current, err := open(l.path)
	if err != nil {
		return nil, err
	}
	if same(newest, current) {
		current.Close()
		return nil, nil
	}
	old, err := open(OldName(l.path))
	if err == nil && (old == nil || same(newest, old)) {
		old.Close() // a nil file takes it too
		return current, nil
	}
	current.Close()
	return old, err
}

// open opens the file at path, which is nil if there is none.
func open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// same reports whether a and b, either of which may be nil, are one file.
func same(a, b *os.File) bool {
	if a == nil || b == nil {
		return false
	}
	left, err := a.Stat()
	if err != nil {
		return false
	}
	right, err := b.Stat()
	return err == nil && os.SameFile(left, right)
}
