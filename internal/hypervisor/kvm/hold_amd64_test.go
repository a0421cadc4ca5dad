package kvm

import (
	"sync"
	"testing"
	"time"
)

// TestHold: a held guest does not run, halted or not, and a hold and a pause are
// two things.
func TestHold(t *testing.T) {
	m := spec(t, codeSpin)
	m.VCPUs = 2
	guest := launch(t, m)
	runs := func(after string) {
		t.Helper()
		before := guest.CPUTime()
		for deadline := time.Now().Add(10 * time.Second); guest.CPUTime()-before < time.Millisecond; {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the guest does not run", after)
			}
		}
	}
	stands := func(after string) {
		t.Helper()
		time.Sleep(time.Millisecond)
		before := guest.CPUTime()
		time.Sleep(50 * time.Millisecond)
		if used := guest.CPUTime() - before; used > 15*time.Millisecond { // its threads may still be falling asleep
			t.Fatalf("%s: the guest used %v of processor time", after, used)
		}
	}
	change := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		runs("at first")
		guest.Hold(true)
		guest.Hold(true)
		stands("held")
		change(guest.Pause(t.Context()))
		guest.Hold(false)
		stands("held, paused, let go")
		guest.Hold(true)
		change(guest.Resume(t.Context()))
		stands("resumed in a hold")
		guest.Hold(false)
	}
	guest.Hold(true)
	guest.Kill() // a held machine, too
	guest.Hold(true)
	guest.Hold(false)
}

// TestHoldsAndEnd has a guest held, let go and paused while it is killed.
func TestHoldsAndEnd(t *testing.T) {
	for range 20 {
		m := spec(t, codeHalt)
		m.VCPUs = 2
		guest := launch(t, m)
		var others sync.WaitGroup
		others.Go(func() {
			for {
				select {
				case <-guest.Done():
					guest.Hold(true)
					return
				default:
					guest.Hold(true)
					guest.Hold(false)
				}
			}
		})
		others.Go(func() {
			for guest.Pause(t.Context()) == nil && guest.Resume(t.Context()) == nil {
			}
		})
		time.Sleep(2 * time.Millisecond)
		guest.Kill()
		within(t, "the end", others.Wait)
	}
}
