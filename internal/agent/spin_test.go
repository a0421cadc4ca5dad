package agent

import (
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSpin(t *testing.T) {
	spinFreely(t)
	var now unix.Timespec
	word := uint32(7)
	if got := spin(&word, 7, 0, &now); got != 7 || now != (unix.Timespec{}) {
		t.Errorf("what is there already: %d, at %v", got, now)
	}
	word = 1<<32 - 1
	if got := spin(&word, 2, 0, &now); got != 1<<32-1 {
		t.Errorf("the greatest number: %d", got)
	}

	const wait = 20 * time.Millisecond
	word = 1
	begin := time.Now()
	got := spin(&word, 2, monotonic(&now)+int64(wait), &now)
	if took := time.Since(begin); got != 1 || took < wait || took > wait+5*time.Second {
		t.Errorf("up to the deadline: %d after %v", got, took)
	}

	begin = time.Now()
	time.AfterFunc(wait, func() { atomic.StoreUint32(&word, 3) })
	got = spin(&word, 2, monotonic(&now)+int64(time.Minute), &now)
	if took := time.Since(begin); got != 3 || took < wait || took > wait+5*time.Second {
		t.Errorf("up to the change: %d after %v", got, took)
	}
}
