package kvmapi

import (
	"encoding/binary"
	"testing"
)

func TestRunStructure(t *testing.T) {
	c := &VCPU{run: make([]byte, 4096)}
	binary.NativeEndian.PutUint32(c.run[8:], 17)
	binary.NativeEndian.PutUint32(c.run[32:], 1)
	if c.ExitReason() != ExitInternalError || c.InternalSuberror() != 1 {
		t.Errorf("reason %d, suberror %d; want 17, 1", c.ExitReason(), c.InternalSuberror())
	}
	// struct { u8 direction; u8 size; u16 port; ... }
	copy(c.run[32:], []byte{1, 1, 0xF4, 0})
	if c.IOPort() != 0xF4 {
		t.Errorf("port %#x, want 0xf4", c.IOPort())
	}
	c.SetImmediateExit(true)
	if c.run[0] != 0 || c.run[1] != 1 || c.run[2] != 0 {
		t.Errorf("immediate exit wrote % x, want 00 01 00 00", c.run[:4])
	}
	c.SetImmediateExit(false)
	if c.run[1] != 0 {
		t.Error("immediate exit stayed set")
	}
}
