package main

import (
	"bufio"
	"strings"
	"testing"
)

func TestReadInterrupts(t *testing.T) {
	const first = `[    1.5] a line of the kernel
           CPU0
  0:         37    IO-APIC   2-edge      timer
 24:          5   PCI-MSI 16384-edge      virtio0-config
NMI:          0   Non-maskable interrupts
LOC:        411   Local timer interrupts
ERR:          0

`
	const second = "           CPU0       \r\n 24:          9   PCI-MSI 16384-edge      virtio0-config\r\nLOC:        500   Local timer interrupts\r\n\r\n"
	lines := bufio.NewScanner(strings.NewReader(first + second + "24: 8"))
	for _, want := range []interrupts{{timer: 411, devices: 42}, {timer: 500, devices: 9}} {
		if got, err := readInterrupts(lines); err != nil || got != want {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
	if got, err := readInterrupts(lines); err == nil {
		t.Errorf("a table that is cut off gives %v", got)
	}
}
