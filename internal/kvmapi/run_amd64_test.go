package kvmapi

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPorts(t *testing.T) {
	m := newMachine(t, false)
	copy(m.mem[0x2000:], "otters")
	m.load(t, []byte{
		0xE5, 0x60, // in ax, 0x60
		0xE7, 0x62, // out 0x62, ax
		0xBA, 0xF8, 0x03, // mov dx, 0x3f8
		0xBE, 0x00, 0x20, // mov si, 0x2000
		0xB9, 0x06, 0x00, // mov cx, 6
		0x26, 0xF3, 0x6E, // rep outsb es:[si]
		0xF4, // hlt
	}, Regs{})

	m.run(t, ExitIO)
	in := m.vcpu.IO()
	if in.Out || in.Size != 2 || in.Port != 0x60 || in.Count != 1 || len(in.Data) != 2 {
		t.Fatalf("in: %+v", in)
	}
	copy(in.Data, []byte{0xCD, 0xAB})

	m.run(t, ExitIO)
	out := m.vcpu.IO()
	if !out.Out || out.Size != 2 || out.Port != 0x62 || out.Count != 1 || string(out.Data) != "\xCD\xAB" {
		t.Fatalf("out: %+v", out)
	}
	if m.vcpu.IOPort() != 0x62 {
		t.Errorf("port is %#x", m.vcpu.IOPort())
	}

	// How many elements come at once is the kernel's choice.
	var line []byte
	for len(line) < 6 {
		m.run(t, ExitIO)
		s := m.vcpu.IO()
		if !s.Out || s.Size != 1 || s.Port != 0x3F8 || s.Count == 0 || len(s.Data) != int(s.Count) {
			t.Fatalf("outs: %+v", s)
		}
		line = append(line, s.Data...)
	}
	if string(line) != "otters" {
		t.Errorf("the string is %q", line)
	}
	m.run(t, ExitHLT)
}

func TestDeviceMemory(t *testing.T) {
	m := newMachine(t, false)
	m.load(t, []byte{
		0x66, 0xA1, 0x10, 0x00, // mov eax, [0x10]
		0x66, 0xA3, 0x20, 0x00, // mov [0x20], eax
		0xA2, 0x31, 0x00, // mov [0x31], al
		0xF4, // hlt
	}, Regs{})

	m.run(t, ExitMMIO)
	load := m.vcpu.MMIO()
	if load.Write || load.Addr != deviceAddr+0x10 || len(load.Data) != 4 {
		t.Fatalf("load: %+v", load)
	}
	copy(load.Data, "virt") // the magic value of virtio-mmio, as it happens

	for _, want := range []struct {
		addr uint64
		data string
	}{{deviceAddr + 0x20, "virt"}, {deviceAddr + 0x31, "v"}} {
		m.run(t, ExitMMIO)
		if store := m.vcpu.MMIO(); !store.Write || store.Addr != want.addr || string(store.Data) != want.data {
			t.Fatalf("store: %+v, want %+v", store, want)
		}
	}
	m.run(t, ExitHLT)
	regs, err := m.vcpu.Regs()
	if err != nil {
		t.Fatal(err)
	}
	if regs.RAX != 0x74726976 {
		t.Errorf("eax is %#x", regs.RAX)
	}
}

// Answering exits is the VMM's innermost loop.
func TestExitsDoNotAllocate(t *testing.T) {
	m := newMachine(t, false)
	m.load(t, []byte{
		0xEE,                   // out dx, al
		0x66, 0xA3, 0x20, 0x00, // mov [0x20], eax
		0xEB, 0xF9, // jmp to the start
	}, Regs{RDX: 0x70})
	var sum int
	allocs := testing.AllocsPerRun(100, func() {
		m.run(t, ExitIO)
		sum += len(m.vcpu.IO().Data)
		m.run(t, ExitMMIO)
		sum += len(m.vcpu.MMIO().Data)
	})
	if allocs != 0 || sum != 101*5 {
		t.Errorf("%v allocations per pair of exits with %d bytes", allocs, sum)
	}
}

func TestImmediateExit(t *testing.T) {
	m := newMachine(t, false)
	m.load(t, []byte{0xF4}, Regs{}) // hlt
	m.vcpu.SetImmediateExit(true)
	if err := m.vcpu.Run(); err != unix.EINTR {
		t.Fatalf("run: %v, want %v", err, unix.EINTR)
	}
	if regs, err := m.vcpu.Regs(); err != nil || regs.RIP != codeAddr {
		t.Errorf("the guest went on to %#x (%v)", regs.RIP, err)
	}
	m.vcpu.SetImmediateExit(false)
	m.run(t, ExitHLT)
}

func TestImmediateExitFromOutside(t *testing.T) {
	m := newMachine(t, false)
	m.load(t, []byte{0xEB, 0xFE}, Regs{}) // jmp to itself
	thread := unix.Gettid()
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		time.Sleep(10 * time.Millisecond)
		m.vcpu.SetImmediateExit(true)
		for {
			// SIGURG is Go's own preemption signal: its handler does no harm.
			_ = unix.Tgkill(os.Getpid(), thread, unix.SIGURG)
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	// The first ones may be Go's own signals, before the flag is set; after it,
	// one Run at most gets as far as the guest.
	start := time.Now()
	for time.Since(start) < 50*time.Millisecond {
		if err := m.vcpu.Run(); err != unix.EINTR {
			t.Errorf("run: %v, exit is %v", err, m.vcpu.ExitReason())
			break
		}
	}
	close(stop)
	<-ended
}

func TestStats(t *testing.T) {
	m := newMachine(t, false)
	const binaryStats = Cap(203) // KVM_CAP_BINARY_STATS_FD
	if v, err := m.vm.CheckExtension(binaryStats); err != nil || v == 0 {
		t.Skip("this kernel has no binary statistics: it is older than 5.14")
	}
	read := func() map[string]uint64 {
		t.Helper()
		f, err := m.vcpu.StatsFD()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		stats, err := ReadStats(f)
		if err != nil {
			t.Fatal(err)
		}
		return stats
	}
	before := read()
	for _, name := range []string{"exits", "io_exits", "mmio_exits", "halt_exits", "irq_exits", "pf_taken"} {
		if _, ok := before[name]; !ok {
			t.Errorf("no counter %q of a vCPU", name)
		}
	}
	m.load(t, []byte{0x66, 0xA3, 0x20, 0x00, 0xF4}, Regs{}) // mov [0x20], eax; hlt
	m.run(t, ExitMMIO)
	m.run(t, ExitHLT)
	after := read()
	if after["mmio_exits"] <= before["mmio_exits"] {
		t.Errorf("mmio_exits went from %d to %d over a store to a device", before["mmio_exits"], after["mmio_exits"])
	}
}
