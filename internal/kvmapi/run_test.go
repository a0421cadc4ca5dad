package kvmapi

import (
	"encoding/binary"
	"slices"
	"testing"
)

// stopped is a vCPU whose run structure says reason and, in the union, exit.
func stopped(reason ExitReason, exit ...byte) *VCPU {
	c := &VCPU{run: make([]byte, 4096)}
	binary.NativeEndian.PutUint32(c.run[8:], uint32(reason))
	copy(c.run[32:], exit)
	return c
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.NativeEndian.AppendUint64(nil, v) }

func TestImmediateExitFlag(t *testing.T) {
	c := stopped(ExitHLT)
	c.SetImmediateExit(true)
	if c.run[0] != 0 || c.run[1] != 1 || c.run[2] != 0 {
		t.Errorf("immediate exit wrote % x, want 00 01 00 00", c.run[:4])
	}
	c.SetImmediateExit(false)
	if c.run[1] != 0 {
		t.Error("immediate exit stayed set")
	}
}

func TestExitReasonString(t *testing.T) {
	for reason, want := range map[ExitReason]string{
		ExitUnknown:     "unknown",
		ExitMMIO:        "mmio",
		ExitMemoryFault: "memory fault",
		13:              "exit 13", // another architecture's
		99:              "exit 99",
		1<<32 - 1:       "exit 4294967295",
	} {
		if got := reason.String(); got != want {
			t.Errorf("%d is %q, want %q", uint32(reason), got, want)
		}
	}
}

func TestIO(t *testing.T) {
	exit := func(direction, size byte, port uint16, count uint32, offset uint64) []byte {
		head := binary.NativeEndian.AppendUint16([]byte{direction, size}, port)
		return slices.Concat(head, u32(count), u64(offset))
	}
	for _, c := range []struct {
		name string
		exit []byte
		want IO
		data int // bytes
	}{
		{"out", exit(1, 1, 0x3F8, 1, 4095), IO{Out: true, Size: 1, Port: 0x3F8, Count: 1}, 1},
		{"in", exit(0, 4, 0xCFC, 1, 2048), IO{Size: 4, Port: 0xCFC, Count: 1}, 4},
		{"string", exit(1, 2, 0x1F0, 1024, 2048), IO{Out: true, Size: 2, Port: 0x1F0, Count: 1024}, 2048},
		{"past the end", exit(1, 2, 0x1F0, 1025, 2048), IO{Out: true, Size: 2, Port: 0x1F0, Count: 1025}, 0},
		{"offset outside", exit(1, 1, 0x80, 1, 4097), IO{Out: true, Size: 1, Port: 0x80, Count: 1}, 0},
		{"offset that wraps", exit(1, 1, 0x80, 1, 1<<64-1), IO{Out: true, Size: 1, Port: 0x80, Count: 1}, 0},
		{"most that can be", exit(1, 255, 0x80, 1<<32-1, 0), IO{Out: true, Size: 255, Port: 0x80, Count: 1<<32 - 1}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := stopped(ExitIO, c.exit...)
			got := v.IO()
			if len(got.Data) != c.data {
				t.Errorf("%d bytes, want %d", len(got.Data), c.data)
			}
			if cap(got.Data) != len(got.Data) {
				t.Error("the view can be appended to")
			}
			got.Data = nil
			if got.Out != c.want.Out || got.Size != c.want.Size || got.Port != c.want.Port || got.Count != c.want.Count {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if v.IOPort() != c.want.Port {
				t.Errorf("port %#x, want %#x", v.IOPort(), c.want.Port)
			}
		})
	}
}

func TestMMIOLengthIsClamped(t *testing.T) {
	exit := slices.Concat(u64(0xD000_0000), []byte("abcdefgh"), u32(1<<32-1), []byte{1})
	a := stopped(ExitMMIO, exit...).MMIO()
	if string(a.Data) != "abcdefgh" || cap(a.Data) != 8 || a.Addr != 0xD000_0000 || !a.Write {
		t.Errorf("%+v", a)
	}
}

func TestInternalError(t *testing.T) {
	code := []byte{0x66, 0x0F, 0xAE, 0x6D, 0x00}
	instruction := append([]byte{byte(len(code))}, append(code, make([]byte, 15-len(code))...)...)
	for _, c := range []struct {
		name        string
		exit        []byte
		suberror    uint32
		data        int
		instruction []byte
	}{
		{"instruction", slices.Concat(u32(1), u32(3), u64(1), instruction), 1, 3, code},
		{"no flag", slices.Concat(u32(1), u32(3), u64(2), instruction), 1, 3, nil},
		{"old kernel", slices.Concat(u32(1), u32(0), u64(1), instruction), 1, 0, nil},
		{"other kind", slices.Concat(u32(3), u32(3), u64(1), instruction), 3, 3, nil},
		{"too long", slices.Concat(u32(1), u32(3), u64(1), []byte{255}, instruction[1:]), 1, 3, instruction[1:]},
		{"too much data", slices.Concat(u32(4), u32(1<<32-1)), 4, 16, nil},
		{"more data than counts", slices.Concat(u32(1), u32(1<<29), u64(0)), 1, 16, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := stopped(ExitInternalError, c.exit...)
			suberror, data := v.InternalError()
			if suberror != c.suberror || v.InternalSuberror() != c.suberror || len(data) != c.data {
				t.Errorf("kind %d with %d numbers, want %d with %d", suberror, len(data), c.suberror, c.data)
			}
			if got := v.FailedInstruction(); !slices.Equal(got, c.instruction) {
				t.Errorf("instruction % x, want % x", got, c.instruction)
			}
		})
	}
	if got := stopped(ExitIO, slices.Concat(u32(1), u32(3), u64(1), instruction)...).FailedInstruction(); got != nil {
		t.Errorf("an exit of another kind has the instruction % x", got)
	}
}

func TestFailEntryReason(t *testing.T) {
	if got := stopped(ExitFailEntry, u64(0x8000_0021)...).FailEntryReason(); got != 0x8000_0021 {
		t.Errorf("fail entry reason %#x", got)
	}
}
