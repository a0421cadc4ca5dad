package logfile

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// log is a log under test: a path and what a scan of it collected, a byte each.
type log struct {
	*testing.T
	path string
	got  []byte
}

func newLog(t *testing.T) *log { return &log{T: t, path: filepath.Join(t.TempDir(), "x.log")} }

func (l *log) add(text string) {
	l.Helper()
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		l.Fatal(err)
	}
}

func (l *log) rotate() {
	l.Helper()
	if err := os.Rename(l.path, OldName(l.path)); err != nil {
		l.Fatal(err)
	}
}

func (l *log) open() *Log {
	l.Helper()
	opened, err := Open(l.path)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(opened.Close)
	return opened
}

// scan collects all there is. A '?' is a record that is not whole.
func (l *log) scan(file io.ReaderAt, offset int64) (int64, error) {
	text, err := io.ReadAll(io.NewSectionReader(file, offset, 1<<20))
	if i := slices.Index(text, '?'); i >= 0 {
		text = text[:i]
	}
	l.got = append(l.got, text...)
	return offset + int64(len(text)), err
}

func (l *log) want(text string) {
	l.Helper()
	if string(l.got) != text {
		l.Errorf("read %q, want %q", l.got, text)
	}
	l.got = nil
}

func TestReadIsWhatWasThere(t *testing.T) {
	l := newLog(t)
	if l.open().Exists() {
		t.Error("a log without files exists")
	}
	l.add("a")
	l.rotate()
	if !l.open().Exists() {
		t.Error("a log whose new file is not made yet does not exist")
	}
	l.add("b")
	opened := l.open()
	l.add("c")
	for range 2 { // and it may be read again
		if err := opened.Read(l.scan); err != nil {
			t.Fatal(err)
		}
		l.want("ab")
	}
	l.rotate() // over the file that holds a
	if err := opened.Read(l.scan); err != nil {
		t.Fatal(err)
	}
	l.want("ab")
}

// TestFollow: nothing is missed or repeated, wherever a rotation comes.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for rotations := range 1 << 6 {
			testFollow(t, rotations)
		}
	})
}

// testFollow rotates before those of six writes whose bit is set.
func testFollow(t *testing.T, rotations int) {
	l := newLog(t)
	opened := l.open()
	want, now := "", 0
	// Each time that the follower asks, a character is written, after a rotation
	// perhaps.
	err := opened.Follow(t.Context(), func() bool {
		if now == 6 {
			return true
		}
		if _, err := os.Stat(l.path); err == nil && rotations>>now&1 == 1 {
			l.rotate()
		}
		text := strconv.Itoa(now)
		l.add(text)
		want += text
		now++
		return now == 6
	}, l.scan)
	if err != nil {
		t.Fatal(err)
	}
	l.want(want)
}

// TestFollowWaits: a record that is not whole stays where it is until it is, and a
// log may come into being late.
func TestFollowWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		opened := l.open()
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		never := func() bool { return false }
		go func() { ended <- opened.Follow(ctx, never, l.scan) }()
		step := func(want string) {
			t.Helper()
			time.Sleep(2 * pollInterval)
			synctest.Wait()
			l.want(want)
		}
		step("")
		l.add("a?c")
		step("a")
		if err := os.WriteFile(l.path, []byte("abc"), 0o600); err != nil {
			t.Fatal(err)
		}
		step("bc")
		l.add("d")
		l.rotate() // the new file is not there yet
		step("d")
		l.add("e")
		step("e")
		reason := errors.New("enough")
		cancel(reason)
		if err := <-ended; !errors.Is(err, reason) {
			t.Errorf("error %v", err)
		}
	})
}

// TestOverwritten: who is slower than two rotations goes on with the oldest file.
func TestOverwritten(t *testing.T) {
	l := newLog(t)
	l.add("a")
	opened := l.open()
	if err := opened.Read(l.scan); err != nil {
		t.Fatal(err)
	}
	l.add("b")
	for _, text := range []string{"c", "d", "e"} {
		l.rotate()
		l.add(text)
	}
	if err := opened.Follow(t.Context(), func() bool { return true }, l.scan); err != nil {
		t.Fatal(err)
	}
	l.want("abde")
}

func TestErrors(t *testing.T) {
	l := newLog(t)
	l.add("a")
	full := errors.New("full")
	fails := func(io.ReaderAt, int64) (int64, error) { return 0, full }
	opened := l.open()
	if err := opened.Read(fails); !errors.Is(err, full) {
		t.Errorf("Read: %v", err)
	}
	if err := opened.Follow(t.Context(), func() bool { return false }, fails); !errors.Is(err, full) {
		t.Errorf("Follow: %v", err)
	}
	if _, err := Open(filepath.Join(l.path, "x")); err == nil {
		t.Error("a path below a file opens")
	}
}

func TestCovers(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	for _, tt := range []struct {
		since, until time.Time
		want         bool
	}{
		{time.Time{}, time.Time{}, true},
		{at(5), time.Time{}, true},
		{at(6), time.Time{}, false},
		{time.Time{}, at(5), false},
		{time.Time{}, at(6), true},
		{at(5), at(6), true},
	} {
		if Covers(tt.since, tt.until, at(5)) != tt.want {
			t.Errorf("from %v until %v: want %v", tt.since, tt.until, tt.want)
		}
	}
}
