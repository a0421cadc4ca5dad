package eventlog

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"time"

	"github.com/holtvm/holt/internal/logfile"
)

// Options say which events are read.
type Options struct {
	// Since and Until bound the events' times, unless zero: from Since on, and
	// before Until.
	Since, Until time.Time
	// Follow waits for more events, until Until is over.
	Follow bool
}

// Read reads the events of the log in the directory dir, in the order in which they
// were written. A log that does not exist has none. Lines that are no event are left
// out. If each returns an error, Read returns that one. Following ends with ctx,
// whose cause is returned.
func Read(ctx context.Context, dir string, o Options, each func(Event) error) error {
	log, err := logfile.Open(filepath.Join(dir, fileName))
	if err != nil {
		return err
	}
	defer log.Close()
	r := &reader{ctx: ctx, options: o, each: each, buf: make([]byte, 8*maxEvent)}
	if err := log.Read(r.scan); err != nil || !o.Follow {
		return err
	}
	ended := func() bool { return !o.Until.IsZero() && !time.Now().Before(o.Until) }
	return log.Follow(ctx, ended, r.scan)
}

type reader struct {
	ctx     context.Context
	options Options
	each    func(Event) error
	buf     []byte
}

// scan is a logfile.Scan.
func (r *reader) scan(file io.ReaderAt, offset int64) (int64, error) {
	for {
		n, err := file.ReadAt(r.buf, offset)
		if err != nil && err != io.EOF {
			return offset, err
		}
		whole := bytes.LastIndexByte(r.buf[:n], '\n') + 1
		if whole == 0 && n == len(r.buf) {
			whole = n // damage: no event is as long
		}
		if whole == 0 {
			return offset, nil
		}
		for line := range bytes.Lines(r.buf[:whole]) {
			if err := r.give(line); err != nil {
				return offset, err
			}
		}
		offset += int64(whole)
	}
}

// give gives out the event of a line, if it is one that is asked for.
func (r *reader) give(line []byte) error {
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	var e Event
	isEvent := json.Unmarshal(line, &e) == nil && e.Action != ""
	if isEvent && logfile.Covers(r.options.Since, r.options.Until, e.Time) {
		return r.each(e)
	}
	return nil
}
