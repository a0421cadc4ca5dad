package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/holtvm/holt"
)

const (
	// barAfter is how long a copy goes on before its progress is shown.
	barAfter = time.Second
	// barEvery is the time between two looks of it.
	barEvery = 100 * time.Millisecond
)

// copyBar shows a copy's progress on a terminal. A nil one does nothing.
type copyBar struct {
	out         *os.File
	begun, last time.Time
}

// newCopyBar returns nil if nothing is to be shown.
func newCopyBar(out *os.File, quiet bool) *copyBar {
	if quiet || !isTerminal(out) {
		return nil
	}
	return &copyBar{out: out, begun: time.Now()}
}

// show shows how far the copy has got, unless it just did.
func (b *copyBar) show(s holt.CopyStatus) {
	now := time.Now()
	if now.Sub(b.begun) < barAfter || now.Sub(b.last) < barEvery {
		return
	}
	b.last = now
	width := 80
	if w, _, err := term.GetSize(int(b.out.Fd())); err == nil && w > 1 { // a terminal may not know its size
		width = w
	}
	fmt.Fprint(b.out, "\r\x1b[K", barText(s, now.Sub(b.begun), width-1))
}

// clear takes away what was shown.
func (b *copyBar) clear() {
	if b != nil && !b.last.IsZero() {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}

// barText is how far a copy has got after a time, in width characters at most.
func barText(s holt.CopyStatus, took time.Duration, width int) string {
	rate := humanBytes(uint64(float64(s.Bytes)/max(took.Seconds(), 1e-3))) + "/s"
	done := humanBytes(uint64(s.Bytes))
	if s.Total <= 0 {
		text := done + "  " + rate + "  "
		if s.Files > 0 {
			text += fmt.Sprintf("%d files  ", s.Files)
		}
		return shorten(text+quoted(s.Path), width)
	}
	share := min(float64(s.Bytes)/float64(s.Total), 1) // it may have grown
	text := fmt.Sprintf(" %3.0f%%  %s of %s  %s", 100*share, done, humanBytes(uint64(s.Total)), rate)
	length := min(width-len(text)-2, 40)
	if length < 8 {
		return shorten(text, width)
	}
	full := int(share * float64(length))
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", length-full) + "]" + text
}
