package outlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holtvm/holt/internal/logfile"
)

const name = "output"

var all = Options{Tail: -1}

func at(s int) time.Time { return time.Unix(int64(s), 0) }

// write opens the log in dir, writes each text of the form "o text" a second later
// than the one before, and closes it.
func write(t *testing.T, dir string, texts ...string) {
	t.Helper()
	w, err := Open(dir, name, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range texts {
		if err := w.Write(Stream(text[0]), at(i), []byte(text[2:])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// show is a line as the tests write it: "7 o text".
func show(l Line) string { return fmt.Sprintf("%d %c %s", l.Time.Unix(), l.Stream, l.Text) }

func read(t *testing.T, dir string, o Options) []string {
	t.Helper()
	var got []string
	err := Read(t.Context(), dir, name, o, func(l Line) error { got = append(got, show(l)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	tests := []struct {
		name   string
		writes []string
		want   []string
	}{
		{"none", nil, nil},
		{"empty write", []string{"o "}, nil},
		{"one write, two lines", []string{"o a\nb\n"}, []string{"0 o a\n", "0 o b\n"}},
		{"a line of three writes", []string{"o a", "o b", "o c\n"}, []string{"0 o abc\n"}},
		{"streams apart", []string{"o a", "e b", "c c", "o \n", "e \n", "c \n"}, []string{"0 o a\n", "1 e b\n", "2 c c\n"}},
		{"in the order of their ends", []string{"o a", "e b\n", "o \n"}, []string{"1 e b\n", "0 o a\n"}},
		{"no newline at the end", []string{"e b", "o a"}, []string{"1 o a", "0 e b"}},
		{"empty lines", []string{"o \n\n"}, []string{"0 o \n", "0 o \n"}},
		{"any bytes", []string{"o \x00\xff\r\n1 o 1\nx"}, []string{"0 o \x00\xff\r\n", "0 o 1 o 1\n", "0 o x"}},
		{"a long line", []string{"o x", "o " + long + "y\n"}, []string{"0 o " + long, "1 o xy\n"}},
		{"a line as long as a piece", []string{"o " + long, "o \n"}, []string{"0 o " + long, "1 o \n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, tt.writes...)
			if got := read(t, dir, all); !slices.Equal(got, tt.want) {
				t.Errorf("read %.200q, want %.200q", got, tt.want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "o a\n", "e b\n", "o c\nd\n", "o e\n", "e f")
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"all", all, "abcdef"},
		{"since", Options{Tail: -1, Since: at(2)}, "cdef"},
		{"until", Options{Tail: -1, Until: at(2)}, "ab"},
		{"between", Options{Tail: -1, Since: at(1), Until: at(4)}, "bcde"},
		{"tail", Options{Tail: 2}, "ef"},
		{"tail within a record", Options{Tail: 3}, "def"},
		{"tail of more than there is", Options{Tail: 100}, "abcdef"},
		{"no tail", Options{}, ""},
		{"tail of a range", Options{Tail: 2, Until: at(3)}, "cd"},
		{"followed to its end", Options{Tail: 3, Follow: true, Ended: func() bool { return true }}, "cdef"},
		{"followed until a time that is over", Options{Tail: -1, Follow: true, Until: at(3)}, "abcd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			for _, line := range read(t, dir, tt.o) {
				got += strings.TrimSpace(line[4:])
			}
			if got != tt.want {
				t.Errorf("read %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	dir := t.TempDir()
	enough := errors.New("enough")
	each := func(Line) error { return enough }
	if err := Read(t.Context(), dir, name, all, each); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no log: %v", err)
	}
	write(t, dir, "o a\n")
	if err := Read(t.Context(), dir, name, all, each); err != enough {
		t.Errorf("each's error: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	if err := Read(ctx, dir, name, Options{}, each); err != enough {
		t.Errorf("context: %v", err)
	}
	// While a rotation has taken the file's name there is only the old one.
	path := filepath.Join(dir, name+".log")
	if err := os.Rename(path, logfile.OldName(path)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir, all); !slices.Equal(got, []string{"0 o a\n"}) {
		t.Errorf("read %q", got)
	}
}

// TestRotation: the log holds the end of what was written, whole, and no more than
// its limit.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	w, err := Open(dir, name, 1)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	const numbers = 60_000
	line := 0
	for line < numbers {
		var text []byte
		for range 1 + random.IntN(5000) {
			text = fmt.Appendf(text, "%d\n", line)
			line++
		}
		cut := random.IntN(len(text))
		for _, part := range [][]byte{text[:cut], text[cut:]} {
			if err := w.Write(Stdout, at(0), part); err != nil {
				t.Fatal(err)
			}
		}
		size := fileSize(t, w.path) + fileSize(t, logfile.OldName(w.path))
		if size > MinLimit {
			t.Fatalf("%d bytes, the limit is %d", size, MinLimit)
		}
	}
	if size := fileSize(t, logfile.OldName(w.path)); size < MinLimit/4 {
		t.Errorf("the old file has %d bytes: too early", size)
	}
	got := read(t, dir, all)
	for i, text := range got[1:] { // the first one may be the end of a line
		if want := fmt.Sprintf("0 o %d\n", line-len(got)+1+i); text != want {
			t.Fatalf("line %q, want %q", text, want)
		}
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestFollowWriter: a reader gets every line once and in order while the log is
// written, rotates, and is closed and opened again.
func TestFollowWriter(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "o -2\n", "o -1\n", "o 0") // the last line goes on below
	got := make(chan string, 100)
	ended := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(got)
		o := Options{Tail: 1, Follow: true, Ended: func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}}
		failed <- Read(t.Context(), dir, name, o, func(l Line) error { got <- string(l.Text); return nil })
	}()
	if first := <-got; first != "-1\n" {
		t.Fatalf("first line %q", first)
	}
	const sessions, lines = 4, 2000
	pad := strings.Repeat("x", 50)
	behind := make(chan bool, 1000) // a reader further behind would miss a file
	go func() {
		defer close(ended)
		for session := range sessions {
			w, err := Open(dir, name, MinLimit)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range lines {
				behind <- true
				text := fmt.Sprintf("%s\n%d", pad, session*lines+i+1)
				if err := w.Write(Stdout, at(i), []byte(text)); err != nil {
					t.Error(err)
				}
			}
			w.Close()
		}
	}()
	next := 0
	for text := range got {
		want := fmt.Sprintf("%d%s\n", next, pad)
		if next == sessions*lines {
			want = fmt.Sprint(next)
		}
		if text != want {
			t.Fatalf("line %.100q, want %q", text, want)
		}
		if next > 0 {
			<-behind
		}
		next++
	}
	if err := <-failed; err != nil || next != sessions*lines+1 {
		t.Errorf("%d lines, error %v", next, err)
	}
}

// TestFollowEnds: with the context, and with the VM's directory.
func TestFollowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "vm")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		got := ""
		follow := func() {
			ended <- Read(ctx, dir, name, Options{Tail: -1, Follow: true}, func(l Line) error { got += string(l.Text); return nil })
		}
		go follow()
		synctest.Wait()
		write(t, dir, "o a") // it was not there yet
		time.Sleep(time.Second)
		cancel(enough)
		if err := <-ended; err != enough || got != "" {
			t.Errorf("error %v, read %q", err, got)
		}
		ctx = t.Context()
		go follow()
		synctest.Wait()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil || got != "a" {
			t.Errorf("error %v, read %q", err, got)
		}
	})
}
