package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/holtvm/holt"
)

// impatient is how many interrupts it takes to give up a program that ignores them.
const impatient = 3

// program is a program in a guest that has this process's terminal.
type program interface {
	Signal(sig syscall.Signal) error
	Resize(size holt.WindowSize) error
}

// lastResort is what happens to a program that ignores too many interrupts, and the
// signal that seems to have ended it then.
type lastResort struct {
	text string
	sig  syscall.Signal
}

// converse runs p with this process's signals and terminal, until wait returns. Signals
// go to it as soon as start has returned; before, one ends ctx through cancel, as too
// many interrupts do later, the last resort. What start began ends with ctx. The error
// is that of start or wait, or the cause of ctx's end.
func converse(ctx context.Context, cancel context.CancelCauseFunc, p program, term *terminal, last lastResort, start, wait func() error) error {
	signals := watchSignals(p, term, last, cancel)
	defer signals.stop()
	err := start()
	if err == nil {
		if err = term.raw(); err != nil {
			cancel(err)
		}
		defer term.restore()
		signals.started()
		err = wait()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// signalWatch passes this process's signals on to the guest's program.
type signalWatch struct {
	ch      chan os.Signal
	program program
	term    *terminal
	running atomic.Bool
}

// watchSignals starts passing signals on, as converse says.
func watchSignals(p program, term *terminal, last lastResort, cancel context.CancelCauseFunc) *signalWatch {
	w := &signalWatch{ch: make(chan os.Signal, 16), program: p, term: term}
	signal.Notify(w.ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	if term.in != nil {
		signal.Notify(w.ch, syscall.SIGPIPE) // else output without a reader ends this process, with the terminal raw
	}
	go func() {
		interrupts := 0
		for s := range w.ch {
			sig := s.(syscall.Signal)
			switch {
			case sig == syscall.SIGWINCH:
				w.resize()
			case sig == syscall.SIGPIPE || !w.running.Load():
				cancel(killedBy(sig))
			default:
				if sig == syscall.SIGINT || sig == syscall.SIGTERM {
					interrupts++
				}
				if interrupts == impatient {
					fmt.Fprintln(os.Stderr, "holt: the program did not end; "+last.text)
					cancel(killedBy(last.sig))
					continue
				}
				_ = p.Signal(sig) // a program that ended needs none
			}
		}
	}()
	return w
}

// started says that the program runs.
func (w *signalWatch) started() {
	w.running.Store(true)
	w.resize() // the size may have changed meanwhile
}

func (w *signalWatch) resize() {
	if w.term.out != nil {
		_ = w.program.Resize(*w.term.size()) // a program that ended has no size
	}
}

func (w *signalWatch) stop() {
	signal.Stop(w.ch)
	close(w.ch)
}
