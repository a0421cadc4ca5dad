package outlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/holtvm/holt/internal/logfile"
)

// maxLine is the most text of a Line, in bytes.
const maxLine = 64 << 10

// Line is a line of one stream.
type Line struct {
	// Time is when its first byte was printed.
	Time   time.Time
	Stream Stream
	// Text ends with the line's newline if it had one. A line longer than 64 KiB
	// comes in pieces. It is valid until the function that got the line returns.
	Text []byte
}

// Options say which lines are read.
type Options struct {
	// Since and Until bound the lines' times, unless zero: from Since on, and
	// before Until.
	Since, Until time.Time
	// Tail is how many of the last lines are read of those that are there already.
	// All are if it is negative.
	Tail int
	// Follow waits for more lines, and for a log that does not exist, until Until is
	// over or Ended has said so.
	Follow bool
	// Ended, unless nil, reports that nothing more will be written. It is asked
	// again and again, from the goroutine that reads.
	Ended func() bool
}

// Read reads lines of the log dir/name.log, in the order in which they were
// completed. At the end each stream's last line is given out even without a newline.
// If each returns an error, Read returns that one. The log may be written meanwhile;
// without Follow, lines added after the call are left out, and a log that does not
// exist is os.ErrNotExist, wrapped. Following ends with ctx, whose cause is returned,
// and when the directory is removed.
func Read(ctx context.Context, dir, name string, o Options, each func(Line) error) error {
	path := logPath(dir, name)
	log, err := logfile.Open(path)
	if err != nil {
		return err
	}
	defer log.Close()
	if !log.Exists() && !o.Follow {
		return fmt.Errorf("read log %s: %w", path, os.ErrNotExist)
	}
	unwanted := 0
	if o.Tail >= 0 {
		total := 0
		count := newJoiner(ctx, o, func(Line) error { total++; return nil })
		if err := log.Read(count.scan); err != nil {
			return err
		}
		if !o.Follow { // else who knows when they are completed
			if err := count.end(); err != nil {
				return err
			}
		}
		unwanted = max(total-o.Tail, 0)
	}
	lines := newJoiner(ctx, o, func(l Line) error {
		if unwanted > 0 {
			unwanted--
			return nil
		}
		return each(l)
	})
	if err := log.Read(lines.scan); err != nil {
		return err
	}
	if o.Follow {
		ended := func() bool {
			_, err := os.Stat(dir)
			return errors.Is(err, os.ErrNotExist) || o.Ended != nil && o.Ended() ||
				!o.Until.IsZero() && !time.Now().Before(o.Until)
		}
		if err := log.Follow(ctx, ended, lines.scan); err != nil {
			return err
		}
	}
	return lines.end()
}

// joiner makes lines of records.
type joiner struct {
	ctx     context.Context
	options Options
	each    func(Line) error
	open    map[Stream]*Line // those whose end was not read yet
	buf     []byte           // of the scanners
}

func newJoiner(ctx context.Context, o Options, each func(Line) error) *joiner {
	return &joiner{ctx: ctx, options: o, each: each, open: map[Stream]*Line{Stdout: {}, Stderr: {}, Console: {}}}
}

// scan is a logfile.Scan.
func (j *joiner) scan(file io.ReaderAt, offset int64) (int64, error) {
	records := scanner{file: file, offset: offset, buf: j.buf}
	for {
		r, err := records.next()
		j.buf = records.buf
		if errors.Is(err, io.EOF) {
			return records.offset, nil
		}
		if err == nil {
			err = j.add(r)
		}
		if err == nil {
			err = context.Cause(j.ctx)
		}
		if err != nil {
			return records.offset, err
		}
	}
}

// add gives out the lines that r completes.
func (j *joiner) add(r record) error {
	line := j.open[r.stream]
	for part := range bytes.Lines(r.text) {
		for len(part) > 0 {
			if len(line.Text) == 0 {
				line.Time, line.Stream = r.at, r.stream
			}
			n := min(len(part), maxLine-len(line.Text))
			line.Text = append(line.Text, part[:n]...)
			part = part[n:]
			if len(line.Text) < maxLine && line.Text[len(line.Text)-1] != '\n' {
				continue
			}
			if err := j.give(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// end gives out what is left.
func (j *joiner) end() error {
	for _, s := range []Stream{Stdout, Stderr, Console} {
		if line := j.open[s]; len(line.Text) > 0 {
			if err := j.give(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// give gives a line out and begins another.
func (j *joiner) give(line *Line) error {
	text := line.Text
	line.Text = text[:0]
	if !logfile.Covers(j.options.Since, j.options.Until, line.Time) {
		return nil
	}
	return j.each(Line{line.Time, line.Stream, text})
}
