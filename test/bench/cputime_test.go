package main

import (
	"os"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/vmtest"
)

func TestProcessTime(t *testing.T) {
	before, err := vmtest.ProcessTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const spin = 50 * time.Millisecond
	for begin := time.Now(); time.Since(begin) < spin; {
	}
	after, err := vmtest.ProcessTime(os.Getpid())
	// A busy machine may have run others meanwhile.
	if used := after - before; err != nil || used <= 0 || used > time.Minute {
		t.Errorf("a process that computed for %v used %v, %v", spin, used, err)
	}
	if _, err := vmtest.ProcessTime(1 << 22); err == nil { // more than Linux gives out
		t.Error("a process that does not exist has a time")
	}
}

func TestVCPUTimeOfNoQEMU(t *testing.T) {
	if used, err := vcpuTime(os.Getpid()); err == nil {
		t.Errorf("a process without a vCPU has used %v for it", used)
	}
}

func TestSwitches(t *testing.T) {
	before, err := switches(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		time.Sleep(time.Millisecond)
	}
	after, err := switches(os.Getpid())
	if err != nil || after < before+10 {
		t.Errorf("a process that slept ten times did so %d times, %v", after-before, err)
	}
}
