package qemu

import (
	"testing"
	"time"
)

// TestHold: a held child uses no processor time, goes on when it is let go, and can
// be killed.
func TestHold(t *testing.T) {
	v, err := fakeQEMU(t, "burns").Start(t.Context(), tinyMachine())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Kill()
	for range 3 {
		v.Hold(true)
		v.Hold(true)
		before := v.CPUTime()
		for stopped := false; !stopped; before = v.CPUTime() { // the signal takes its time on a busy host
			time.Sleep(20 * time.Millisecond)
			stopped = v.CPUTime() == before
		}
		time.Sleep(50 * time.Millisecond)
		if used := v.CPUTime() - before; used != 0 {
			t.Errorf("a held child used %v", used)
		}
		v.Hold(false)
		for deadline := time.Now().Add(patience); v.CPUTime() < before+20*time.Millisecond; {
			if time.Now().After(deadline) {
				t.Fatal("it does not go on")
			}
			time.Sleep(time.Millisecond)
		}
	}
	v.Hold(true)
	v.Kill()
	if v.Err() != nil {
		t.Errorf("a held child that was killed ended with %v", v.Err())
	}
	v.Hold(true) // does nothing any more
	v.Hold(false)
}
