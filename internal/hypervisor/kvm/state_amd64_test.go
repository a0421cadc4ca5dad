package kvm

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/rng"
)

// codeCount counts in RAX until someone stores a byte at 0x8000, and then writes
// the lowest two bytes of what it counted as text and powers off.
func codeCount() []byte {
	code := []byte{
		0x48, 0x31, 0xC0, // xor rax, rax
		0x48, 0xFF, 0xC0, // again: inc rax
		0x80, 0x3C, 0x25, 0x00, 0x80, 0x00, 0x00, 0x00, // cmp byte [0x8000], 0
		0x74, 0xF3, // je again
		0x89, 0xC3, // mov ebx, eax
	}
	out := []byte{0x66, 0xBA, serialPort & 0xFF, serialPort >> 8} // mov dx, port
	for range 4 {
		out = append(out, 0x88, 0xD8, 0xEE, 0xC1, 0xEB, 0x08) // mov al, bl; out dx, al; shr ebx, 8
	}
	return append(append(code, out...), codeOff...)
}

// TestStateGoesOnInAnotherMachine copies a running guest into a second machine.
func TestStateGoesOnInAnotherMachine(t *testing.T) {
	var console bytes.Buffer
	m := spec(t, codeCount())
	m.Devices = []virtio.Device{&rng.Device{}}
	first := launch(t, m).(*vm)
	time.Sleep(20 * time.Millisecond)
	if _, err := first.SaveState(); !errors.Is(err, errNotPaused) {
		t.Errorf("state of a running machine: error %v", err)
	}
	if err := first.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	saved, err := first.SaveState()
	if err != nil {
		t.Fatal(err)
	}
	counted := saved.VCPUs[0].Regs.RAX
	if counted == 0 {
		t.Error("the first guest has not counted")
	}
	text, err := json.Marshal(saved)
	if err != nil {
		t.Fatal(err)
	}
	var state State
	if err := json.Unmarshal(text, &state); err != nil {
		t.Fatal(err)
	}

	m.Console = &console
	m.Devices = []virtio.Device{&rng.Device{}}
	m.Logger = first.m.log
	second, err := build(m)
	if err != nil {
		t.Fatal(err)
	}
	from, _ := first.m.mem.Slice(0, m.MemoryBytes)
	to, _ := second.mem.Slice(0, m.MemoryBytes)
	copy(to, from)
	to[0x8000] = 1 // "enough"
	if err := second.loadState(state); err != nil {
		t.Fatal(err)
	}
	second.gate.set(pause, true)
	vm := start(second)
	t.Cleanup(vm.Kill)
	vm.paused = true
	again, err := vm.SaveState()
	if err != nil {
		t.Fatal(err)
	}
	if again.VCPUs[0].Regs != state.VCPUs[0].Regs || again.VCPUs[0].Sregs.CR3 != state.VCPUs[0].Sregs.CR3 || !bytes.Equal(again.VCPUs[0].XSave, state.VCPUs[0].XSave) {
		t.Errorf("saved again: %+v, loaded %+v", again.VCPUs[0].Regs, state.VCPUs[0].Regs)
	}
	if err := vm.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, vm); err != nil {
		t.Fatal(err)
	}
	got := console.Bytes()
	if len(got) != 4 {
		t.Fatalf("the second guest wrote %x", got)
	}
	n := uint32(got[0]) | uint32(got[1])<<8 | uint32(got[2])<<16 | uint32(got[3])<<24
	if more := n - uint32(counted); more > 2 {
		t.Errorf("the first guest had counted to %d, the second goes on to %d", counted, n)
	}
}

func TestLoadStateRefuses(t *testing.T) {
	good := spec(t, codeSpin)
	first := launch(t, good).(*vm)
	if err := first.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*State)
		want   string
	}{
		{"another version", func(s *State) { s.Version = 2 }, "version is 2"},
		{"other memory", func(s *State) { s.Memory++ }, "bytes of memory"},
		{"other vCPUs", func(s *State) { s.VCPUs = append(s.VCPUs, VCPUState{}) }, "2 vCPUs"},
		{"a short APIC", func(s *State) { s.VCPUs[0].LAPIC = nil }, "local APIC"},
		{"no serial port", func(s *State) { s.Serial = nil }, ""},
		{"no such chip", func(s *State) { s.IRQChips[1].ID = 9 }, "interrupt controller 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := first.SaveState()
			if err != nil {
				t.Fatal(err)
			}
			c.change(&s)
			m := hypervisor.Machine{VCPUs: 1, MemoryBytes: good.MemoryBytes, Kernel: good.Kernel, Logger: first.m.log}
			second, err := build(m)
			if err != nil {
				t.Fatal(err)
			}
			defer second.close()
			if err := second.loadState(s); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}
