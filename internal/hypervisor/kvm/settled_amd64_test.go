package kvm

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
)

// tally is a port that counts its accesses.
type tally struct{ n atomic.Uint64 }

func (c *tally) Read(_ uint64, p []byte) { c.n.Add(1); clear(p) }
func (c *tally) Write(uint64, []byte)    { c.n.Add(1) }

// TestPauseFinishesAccesses: what a paused guest did at a port has happened for the
// guest, too. Otherwise whoever loads its state would do it once more.
func TestPauseFinishesAccesses(t *testing.T) {
	const port, inc = 0x700, 0x48
	for name, access := range map[string][]byte{
		"read":  {0xEC}, // in al, dx
		"write": {0xEE}, // out dx, al
	} {
		t.Run(name, func(t *testing.T) {
			code := []byte{
				0x31, 0xDB, // xor ebx, ebx
				0x66, 0xBA, port & 0xFF, port >> 8, // mov dx, port
			}
			code = append(code, access...)                  // again: the access
			code = append(code, inc, 0xFF, 0xC3)            // inc rbx
			code = append(code, 0xEB, -byte(5+len(access))) // jmp again
			m := spec(t, code)
			m.Logger = slog.New(slog.DiscardHandler)
			built, err := build(m)
			if err != nil {
				t.Fatal(err)
			}
			var accesses tally
			built.ports.add(port, 1, &accesses)
			guest := start(built)
			t.Cleanup(guest.Kill)
			for range 50 {
				time.Sleep(time.Millisecond)
				if err := guest.Pause(t.Context()); err != nil {
					t.Fatal(err)
				}
				regs := stateOf(t, guest).VCPUs[0].Regs
				next, err := built.mem.Slice(regs.RIP, 1)
				if err != nil {
					t.Fatal(err)
				}
				counted := regs.RBX
				if next[0] == inc { // behind the access, which is not counted yet
					counted++
				}
				if n := accesses.n.Load(); n != counted {
					t.Fatalf("before instruction %#x the guest made %d accesses, the port saw %d", next[0], counted, n)
				}
				if err := guest.Resume(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if accesses.n.Load() == 0 {
				t.Error("the guest made no access")
			}
		})
	}
}

// TestNestedGuestsAreNotSaved: without what KVM knows of the guest's own guest its
// registers would be the wrong one's.
func TestNestedGuestsAreNotSaved(t *testing.T) {
	m := spec(t, codeSpin)
	m.Nested = true
	guest := launch(t, m).(*vm)
	if err := guest.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := guest.Save(func([]byte, *guestmem.Memory) error { return nil }); !errors.Is(err, errNested) {
		t.Errorf("error %v, want %v", err, errNested)
	}
}
