package outlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// TestDamage: whatever is broken, the whole records around it are read, and what is
// written after the log was opened again is.
func TestDamage(t *testing.T) {
	const a, b = "0 o 2\na\n\n", "1000000000 o 2\nb\n\n"
	tests := []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", nil},
		{"no header", "hello\n" + a, []string{"0 o a\n"}},
		{"no newline at all", strings.Repeat("x", 3*window), nil},
		{"zeros between", a + strings.Repeat("\x00", 5000) + "\n" + b, []string{"0 o a\n", "1 o b\n"}},
		{"zeros at the end", a + strings.Repeat("\x00", 5000), []string{"0 o a\n"}},
		{"cut off in the header", a + "100000", []string{"0 o a\n"}},
		{"cut off in the text", a + "1000000000 o 20\nb\n", []string{"0 o a\n"}},
		{"cut off before the newline", a + b[:len(b)-1], []string{"0 o a\n"}},
		{"too short a length", "0 o 1\naa\n\n" + b, []string{"1 o b\n"}},
		{"too great a length", "0 o 4\na\n\n" + b + b, []string{"1 o b\n", "1 o b\n"}},
		{"absurd length", "0 o 99999999999999999999\na\n\n" + b, []string{"1 o b\n"}},
		{"length beyond any record", fmt.Sprintf("0 o %d\n", maxText+1) + strings.Repeat("x", maxText+1) + "\n" + b, []string{"1 o b\n"}},
		{"empty and negative length", "0 o 0\n\n0 o -1\n" + b, []string{"1 o b\n"}},
		{"unknown stream", "0 x 2\na\n\n" + b, []string{"1 o b\n"}},
		{"no time", "x o 2\na\n\n" + b, []string{"1 o b\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, name+".log"), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := read(t, dir, all); !slices.Equal(got, tt.want) {
				t.Errorf("read %q, want %q", got, tt.want)
			}
			write(t, dir, "e new\n")
			if got := read(t, dir, all); !slices.Equal(got, append(tt.want, "0 e new\n")) {
				t.Errorf("read %q after a record was added", got)
			}
		})
	}
}

// TestFollowCrash: a follower reads what a writer does after one that crashed in the
// middle of a record, and nothing of that record.
func TestFollowCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "o a\n")
		f, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString("0 o 20\nhalf a li"); err != nil {
			t.Fatal(err)
		}
		var got []string
		var ended atomic.Bool
		o := Options{Tail: -1, Follow: true, Ended: ended.Load}
		failed := make(chan error)
		go func() {
			failed <- Read(t.Context(), dir, name, o, func(l Line) error { got = append(got, show(l)); return nil })
		}()
		synctest.Wait()
		write(t, dir, "o b\n")
		ended.Store(true)
		if err := <-failed; err != nil || !slices.Equal(got, []string{"0 o a\n", "0 o b\n"}) {
			t.Errorf("read %q, error %v", got, err)
		}
	})
}

// TestFullDisk: what was written stays, what cannot be is counted, and the log goes
// on where it can.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	w, err := Open(dir, name, 0)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) error { return w.Write(Stdout, at(1), []byte(text)) }
	if err := put("before\n"); err != nil {
		t.Fatal(err)
	}
	// A limit on the size of files fails like a full disk: after a part.
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(w.size) + 25, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	first, second := put("one line that is lost\n"), put(strings.Repeat("x", 3*maxText))
	size := fileSize(t, w.path)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(first, unix.EFBIG) || !errors.Is(second, unix.EFBIG) || size == w.size {
		t.Fatalf("errors %v and %v with a file of %d bytes, %d of them whole", first, second, size, w.size)
	}
	if got := read(t, dir, all); !slices.Equal(got, []string{"1 o before\n"}) {
		t.Errorf("read %q", got)
	}
	if err := put("after\n"); err != nil {
		t.Fatal(err)
	}
	want := []string{"1 o before\n", "1 e \n", fmt.Sprintf("1 e [holt: %d bytes are missing here: the log could not be written]\n", 22+3*maxText), "1 o after\n"}
	if got := read(t, dir, all); !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	w.lost, w.from = 5, Stdout
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir, all); len(got) != 6 || !strings.Contains(got[5], " e [holt: 5 bytes are missing") {
		t.Errorf("read %q after a close that followed a loss", got)
	}
	if err := put("x"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

// TestRotationFails: a log that cannot get a new file keeps the one it has, and goes
// on when it can.
func TestRotationFails(t *testing.T) {
	dir := t.TempDir()
	w, err := Open(dir, name, MinLimit)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	text := bytes.Repeat([]byte("x"), maxText-1)
	text = append(text, '\n')
	if err := os.Mkdir(w.path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for range 10 {
		if w.Write(Stdout, at(1), text) != nil {
			lost++
		}
	}
	if got := len(read(t, dir, all)); lost == 0 || got+lost != 10 {
		t.Fatalf("%d lines of 10 are lost and %d are there", lost, got)
	}
	if err := os.Remove(w.path + ".new"); err != nil {
		t.Fatal(err)
	}
	// Such is the state after the first of the two renames.
	if err := os.Rename(w.path, w.path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Stdout, at(1), text); err != nil {
		t.Fatal(err)
	}
	if got := len(read(t, dir, all)); got != 10-lost+2+1 {
		t.Errorf("%d lines", got)
	}
}

// FuzzScanner: any file comes to an end, in order, and what is read of it stands in
// it. A record that follows is found.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("0 o 2\na\n\n5 e 1\nx\n"))
	f.Add([]byte("0 o 2\na\n\x00\x00\x00\n-7 c 3\n1 o\n\n9 o"))
	f.Add([]byte("99999999999999999999 o 2\na\n\n0 o 99999\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		own := appendRecord(nil, record{time.Unix(0, 12345), Console, []byte("the last one")})
		// Enough for any record that text claims to begin.
		file := append(append(slices.Clip(text), bytes.Repeat([]byte("\n"), maxText+maxHeader)...), own...)
		s := scanner{file: bytes.NewReader(file)}
		var last record
		for before := int64(0); ; {
			r, err := s.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			whole := file[before:s.offset]
			if s.offset <= before || len(r.text) == 0 || len(r.text) > maxText || !bytes.HasSuffix(whole, append(slices.Clip(r.text), '\n')) {
				t.Fatalf("record of %d bytes, from offset %d to %d", len(r.text), before, s.offset)
			}
			before, last = s.offset, r
		}
		if last.stream != Console || string(last.text) != "the last one" || s.offset != int64(len(file)) {
			t.Fatalf("the last record is %q", last.text)
		}
	})
}
