package kvm

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
)

// What codeCount looks at and shows.
const (
	enoughAddr = 0x8000
	countAddr  = 0x8008
)

// codeCount counts in RAX and in memory until someone stores a byte at enoughAddr. It
// then writes the lowest four bytes of RAX to the serial port and powers off.
func codeCount() []byte {
	code := []byte{
		0x48, 0x31, 0xC0, // xor rax, rax
		0x48, 0xFF, 0xC0, // again: inc rax
		0x48, 0x89, 0x04, 0x25, 0x08, 0x80, 0x00, 0x00, // mov [countAddr], rax
		0x80, 0x3C, 0x25, 0x00, 0x80, 0x00, 0x00, 0x00, // cmp byte [enoughAddr], 0
		0x74, 0xEB, // je again
		0x89, 0xC3, // mov ebx, eax
	}
	out := []byte{0x66, 0xBA, serialPort & 0xFF, serialPort >> 8} // mov dx, port
	for range 4 {
		out = append(out, 0x88, 0xD8, 0xEE, 0xC1, 0xEB, 0x08) // mov al, bl; out dx, al; shr ebx, 8
	}
	return append(append(code, out...), codeOff...)
}

// save pauses a machine and keeps it, with its memory in a file.
func save(t testing.TB, guest hypervisor.VM) *hypervisor.Origin {
	t.Helper()
	if err := guest.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "memory"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	o := &hypervisor.Origin{}
	err = guest.(hypervisor.Saver).Save(func(state []byte, mem *guestmem.Memory) error {
		o.State = bytes.Clone(state)
		o.Memory = &guestmem.Image{Size: mem.Size(), Layers: []guestmem.Layer{{File: f}}}
		_, err := mem.WriteImage(t.Context(), f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// poke stores a byte in a guest's memory.
func poke(t testing.TB, mem *guestmem.Memory, addr uint64, v byte) {
	t.Helper()
	b, err := mem.Slice(addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	b[0] = v
}

// number reads 8 bytes of a guest's memory.
func number(t testing.TB, mem *guestmem.Memory, addr uint64) uint64 {
	t.Helper()
	b, err := mem.Slice(addr, 8)
	if err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(b)
}

// countsBeyond waits until codeCount has counted further than n.
func countsBeyond(t testing.TB, guest hypervisor.Saver, n uint64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var now uint64
		err := guest.Look(func(mem *guestmem.Memory) error {
			now = number(t, mem, countAddr)
			return nil
		})
		switch {
		case err != nil:
			t.Fatal(err)
		case now > n:
			return
		case time.Now().After(deadline):
			t.Fatalf("the guest has counted to %d, not beyond %d", now, n)
		}
	}
}

// generation reads a guest's generation id.
func generation(t testing.TB, mem *guestmem.Memory) string {
	t.Helper()
	b, err := mem.Slice(vmGenIDAddr, vmGenIDSize)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
