package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/holtvm/holt"
)

// terminal is the user's terminal while a guest program uses it. The zero value
// is none, and its methods do nothing.
type terminal struct {
	in, out *os.File
	saved   *term.State
}

// openTerminal checks that there is a terminal to hand over. With input, it is
// standard input; otherwise its size is all that matters.
func openTerminal(input bool) (*terminal, error) {
	t := &terminal{out: os.Stdout}
	if !input {
		return t, nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, errors.New("-t with -i needs a terminal as standard input; leave out -t for pipes")
	}
	t.in = os.Stdin
	return t, nil
}

// size is the terminal's size in characters; 80 by 24 when it has none.
func (t *terminal) size() *holt.WindowSize {
	for _, f := range []*os.File{t.out, t.in} {
		if f == nil {
			continue
		}
		if cols, rows, err := term.GetSize(int(f.Fd())); err == nil {
			return &holt.WindowSize{Rows: uint16(rows), Cols: uint16(cols)}
		}
	}
	return &holt.WindowSize{Rows: 24, Cols: 80}
}

// raw lets every key through to the guest. restore undoes it.
func (t *terminal) raw() error {
	if t.in == nil {
		return nil
	}
	saved, err := term.MakeRaw(int(t.in.Fd()))
	if err != nil {
		return fmt.Errorf("set up the terminal: %w", err)
	}
	t.saved = saved
	return nil
}

func (t *terminal) restore() {
	if t.saved != nil {
		_ = term.Restore(int(t.in.Fd()), t.saved) // nothing more can be done
		t.saved = nil
	}
}

// progress shows text on standard error if it is a terminal and the work takes
// longer than a second. The function that it returns takes the text away.
func progress(text string) (done func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return func() {}
	}
	stop, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-stop:
			return
		case <-time.After(time.Second):
		}
		fmt.Fprint(os.Stderr, text)
		<-stop
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}()
	return func() {
		close(stop)
		<-gone
	}
}
