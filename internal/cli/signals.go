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

// impatient is how many interrupts end a VM whose program ignores them.
const impatient = 3

// signalWatch passes this process's signals on to the guest's program.
type signalWatch struct {
	ch      chan os.Signal
	running atomic.Bool
}

// watchSignals starts passing signals on. Before the program runs, a signal
// that would end this process ends the VM instead, through cancel.
func watchSignals(vm *holt.VM, term *terminal, cancel context.CancelCauseFunc) *signalWatch {
	w := &signalWatch{ch: make(chan os.Signal, 16)}
	signal.Notify(w.ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	go func() {
		interrupts := 0
		for s := range w.ch {
			sig := s.(syscall.Signal)
			switch {
			case sig == syscall.SIGWINCH:
				_ = vm.Resize(*term.size()) // a VM that ended has no size
			case !w.running.Load():
				cancel(killedBy(sig))
			default:
				if sig == syscall.SIGINT || sig == syscall.SIGTERM {
					interrupts++
				}
				if interrupts == impatient {
					fmt.Fprintln(os.Stderr, "holt: the program did not end; killing the VM")
					cancel(killedBy(syscall.SIGKILL))
					continue
				}
				_ = vm.Signal(sig) // a VM that ended needs none
			}
		}
	}()
	return w
}

// started says that the program runs.
func (w *signalWatch) started() { w.running.Store(true) }

func (w *signalWatch) stop() {
	signal.Stop(w.ch)
	close(w.ch)
}
