// Package limits bounds what one VM takes of its host: processor time, memory
// and processes.
//
// A control group of the kernel's does it where we may make one ([NewGroup]): it
// holds everything that works for the VM, its monitor included. Where there is
// none, [Throttle] bounds the processor time of the vCPUs alone by holding them
// for a part of each period.
package limits

import (
	"errors"
	"time"
)

// Period is the time in which a VM gets its quota of processor time.
const Period = 100 * time.Millisecond

// ErrNoGroup says that no control group can be had here; the error around it
// says why.
var ErrNoGroup = errors.New("no control group can be had")

// Limits says what a control group may use. What is zero is not limited.
type Limits struct {
	CPUQuota time.Duration // of processor time in each Period, all processors together; at least 1 ms
	Memory   uint64        // bytes, the page cache on behalf of the group included
	Tasks    int           // processes and threads
}
