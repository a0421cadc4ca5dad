package cli

import (
	"fmt"
	"os"

	"golang.org/x/term"
)

// steps shows what a long operation is doing, on standard error, if that is a
// terminal.
type steps struct{ shown bool }

func newSteps() *steps { return &steps{} }

func (s *steps) show(text string) {
	if term.IsTerminal(int(os.Stderr.Fd())) {
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s", text)
		s.shown = true
	}
}

func (s *steps) clear() {
	if s.shown {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
		s.shown = false
	}
}
