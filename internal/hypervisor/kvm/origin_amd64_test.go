package kvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/rng"
)

// TestStateGoesOnInAnotherMachine saves a guest that counts. It goes on itself, and in two other
// machines, each by itself and from the same number.
func TestStateGoesOnInAnotherMachine(t *testing.T) {
	generations := map[string]bool{}
	m := spec(t, codeCount())
	start := func(console *bytes.Buffer, o *hypervisor.Origin) hypervisor.Saver {
		m.Console, m.Origin = console, o
		m.Devices = []virtio.Device{&rng.Device{}}
		return launch(t, m).(hypervisor.Saver)
	}
	// end makes the guest end, and returns what it counted to.
	end := func(guest hypervisor.Saver, console *bytes.Buffer) uint64 {
		t.Helper()
		err := guest.Look(func(mem *guestmem.Memory) error {
			generations[generation(t, mem)] = true
			poke(t, mem, enoughAddr, 1)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := wait(t, guest); err != nil {
			t.Fatal(err)
		}
		if console.Len() != 4 {
			t.Fatalf("the guest wrote %x", console.Bytes())
		}
		return uint64(binary.LittleEndian.Uint32(console.Bytes()))
	}

	var console, secondConsole, thirdConsole bytes.Buffer
	first := start(&console, nil)
	countsBeyond(t, first, 100)
	origin := save(t, first)
	var counted uint64
	origin.Ready = func(mem *guestmem.Memory) error {
		counted = number(t, mem, countAddr)
		time.Sleep(5 * time.Millisecond) // the guest must not run
		if now := number(t, mem, countAddr); now != counted {
			t.Errorf("the guest counts from %d to %d before it is ready", counted, now)
		}
		poke(t, mem, enoughAddr, 1)
		return nil
	}
	second := start(&secondConsole, origin)
	if n := end(second, &secondConsole); n < counted || n > counted+1 {
		t.Errorf("the first guest had counted to %d, the second, which was told to stop, goes on to %d", counted, n)
	}
	saved := counted
	origin.Ready = func(mem *guestmem.Memory) error {
		counted = number(t, mem, countAddr)
		return nil
	}
	third := start(&thirdConsole, origin)
	if counted != saved {
		t.Errorf("the third guest begins with %d, the second with %d", counted, saved)
	}
	countsBeyond(t, third, counted+100)
	end(third, &thirdConsole)
	if err := first.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	countsBeyond(t, first, counted+100)
	end(first, &console)
	if len(generations) != 3 {
		t.Errorf("three machines have %d generation ids", len(generations))
	}
}

// TestNewGenerationIsTold: a machine that goes on finds an interrupt that says so.
func TestNewGenerationIsTold(t *testing.T) {
	m := spec(t, append([]byte{
		0xE4, 0x20, // in al, 0x20: what the first PIC has requested
		0xA8, 1 << vmGenIDGSI, // test al, 1<<6
		0x74, 0xFA, // jz back
	}, codeOff...))
	first := launch(t, m)
	time.Sleep(20 * time.Millisecond)
	m.Origin = save(t, first)
	if err := wait(t, launch(t, m)); err != nil {
		t.Error(err)
	}
	if err := first.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.Done():
		t.Errorf("the machine that was saved got the interrupt, too: it ended with %v", first.Err())
	case <-time.After(50 * time.Millisecond):
	}
}

// TestDevicesGoOn: a device answers the requests that came behind those that it had
// answered when it was saved.
func TestDevicesGoOn(t *testing.T) {
	const rings, buffer, size = 0x20_0000, 0x30_0000, 64
	m := spec(t, codeHalt)
	m.Devices = []virtio.Device{&rng.Device{}}
	start := func() *vm {
		t.Helper()
		return launch(t, m).(*vm)
	}
	// request asks for random numbers, the n-th time, and waits for them.
	request := func(guest *vm, n uint16) {
		t.Helper()
		mem := guest.m.mem
		all, err := mem.Slice(rings, 0x1000)
		if err != nil {
			t.Fatal(err)
		}
		le := binary.LittleEndian
		le.PutUint64(all, buffer)
		le.PutUint32(all[8:], size)
		le.PutUint16(all[12:], 2)      // the device writes it
		le.PutUint16(all[0x400+2:], n) // available: as many
		out, _ := mem.Slice(buffer, size)
		clear(out)
		guest.m.memory.write(guest.m.devices[0].base+0x50, make([]byte, 4)) // notify queue 0
		for deadline := time.Now().Add(5 * time.Second); le.Uint16(all[0x800+2:]) != n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d requests were answered, want %d", le.Uint16(all[0x800+2:]), n)
			}
		}
		if bytes.Equal(out, make([]byte, size)) {
			t.Errorf("the answer to request %d is all zeros", n)
		}
	}
	first := start()
	first.m.bring(first.m.devices[0], "driver ok")
	request(first, 1)
	m.Origin = save(t, first)
	m.Devices = []virtio.Device{&rng.Device{}}
	second := start()
	request(second, 2)
	if err := first.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	request(first, 2)
	third := save(t, second)
	was, err := decodeState(m.Origin.State)
	is, err2 := decodeState(third.State)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	was.Devices[0].Queues[0].NextAvail = 2
	was.Devices[0].InterruptStatus = is.Devices[0].InterruptStatus
	if a, b := was.Devices[0], is.Devices[0]; a.Status != b.Status || a.DriverFeatures != b.DriverFeatures || a.Queues[0] != b.Queues[0] {
		t.Errorf("saved %+v, and after one more request %+v", a, b)
	}
}

// TestWorkingSetIsReady: the pages are there before the guest runs, and it finds in them
// what was saved.
func TestWorkingSetIsReady(t *testing.T) {
	m := spec(t, codeCount())
	first := launch(t, m).(hypervisor.Saver)
	countsBeyond(t, first, 100)
	m.Origin = save(t, first)
	pages := uint32(m.MemoryBytes / guestmem.PageSize)
	m.Origin.WorkingSet = []guestmem.Run{{Page: 0, Count: 4}, {Page: pages - 3, Count: 3}}
	var counted uint64
	m.Origin.Ready = func(mem *guestmem.Memory) error {
		counted = number(t, mem, countAddr)
		present, err := mem.WorkingSet()
		for _, want := range m.Origin.WorkingSet {
			if !slices.ContainsFunc(present, func(r guestmem.Run) bool {
				return r.Page <= want.Page && want.Page+want.Count <= r.Page+r.Count
			}) {
				t.Errorf("%v are ready, not %v", present, want)
			}
		}
		return err
	}
	countsBeyond(t, launch(t, m).(hypervisor.Saver), counted)
	m.Origin.WorkingSet = []guestmem.Run{{Page: pages, Count: 1}}
	if _, err := (Backend{}).Start(t.Context(), m); err == nil || !strings.Contains(err.Error(), "prefetch") {
		t.Errorf("%v", err)
	}
}

// TestReadyRefuses: a machine that is not let go is not started.
func TestReadyRefuses(t *testing.T) {
	m := spec(t, codeSpin)
	m.Origin = save(t, launch(t, m))
	no := errors.New("no")
	m.Origin.Ready = func(*guestmem.Memory) error { return no }
	if _, err := (Backend{}).Start(t.Context(), m); !errors.Is(err, no) {
		t.Errorf("error %v, want %v", err, no)
	}
}

// TestLoadStateRefuses: what does not fit is refused.
func TestLoadStateRefuses(t *testing.T) {
	good := spec(t, codeSpin)
	good.VCPUs = 2
	good.Devices = []virtio.Device{&rng.Device{}}
	origin := save(t, launch(t, good))
	changed := func(change func(*State)) func(*hypervisor.Machine) {
		return func(m *hypervisor.Machine) {
			s, err := decodeState(origin.State)
			if err != nil {
				t.Fatal(err)
			}
			change(&s)
			if m.Origin.State, err = encodeState(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*hypervisor.Machine)
		want   string
	}{
		{"no memory", func(m *hypervisor.Machine) { m.Origin.Memory = nil }, "without memory"},
		{"more memory", func(m *hypervisor.Machine) { m.MemoryBytes += 1 << 20 }, "bytes"},
		{"more memory then", changed(func(s *State) { s.Memory++ }), "bytes of memory"},
		{"fewer vCPUs", func(m *hypervisor.Machine) { m.VCPUs = 1 }, "2 vCPUs"},
		{"more devices", func(m *hypervisor.Machine) { m.Devices = append(m.Devices, &rng.Device{}) }, "1 devices"},
		{"another device", func(m *hypervisor.Machine) { m.Devices = everyDevice(t)[:1] }, "device 0"},
		{"nested virtualization", func(m *hypervisor.Machine) { m.Nested = true }, "nested"},
		{"no state", func(m *hypervisor.Machine) { m.Origin.State = nil }, "cut off"},
		{"a short APIC", changed(func(s *State) { s.VCPUs[1].LAPIC = nil }), "vCPU 1: a local APIC of 0 bytes"},
		{"no TSC", changed(func(s *State) { s.VCPUs[0].MSRs = nil }), "time stamp counter"},
		{"an unknown MSR", changed(func(s *State) { s.VCPUs[0].MSRs[0].Index, s.VCPUs[0].MSRs[0].Data = 0xABCDEF, 7 }), "msr 0xabcdef, which is 0x7"},
		{"no serial port", changed(func(s *State) { s.Serial = nil }), "UART"},
		{"no such chip", changed(func(s *State) { s.IRQChips[1].ID = 9 }), "interrupt controller 1 says that it is 9"},
		{"bad XSAVE area", changed(func(s *State) { s.VCPUs[0].XSave = s.VCPUs[0].XSave[1:] }), "xsave"},
		{"no CPUID", changed(func(s *State) { s.VCPUs[0].CPUID = nil }), "saved on a processor of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, o := good, *origin
			m.Origin = &o
			m.Devices = []virtio.Device{&rng.Device{}}
			c.change(&m)
			vm, err := Backend{}.Start(t.Context(), m)
			if err == nil {
				vm.Kill()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestBeginsAgain: a machine that has to wait for a processor gets its clocks and what is
// to be told to the guest when it has one.
func TestBeginsAgain(t *testing.T) {
	m := spec(t, codeSpin)
	first := launch(t, m)
	time.Sleep(20 * time.Millisecond)
	m.Origin = save(t, first)
	first.Kill()
	for name, second := range map[string]error{"": nil, "no luck": errors.New("no luck")} {
		times := make(chan int, 9)
		calls := 0
		m.Origin.Ready = func(*guestmem.Memory) error {
			calls++
			times <- calls
			if calls == 2 {
				return second
			}
			return nil
		}
		m.Logger = slog.New(slog.DiscardHandler)
		built, err := build(m)
		if err != nil {
			t.Fatal(err)
		}
		before, err := built.clocks()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		vm := start(built)
		t.Cleanup(vm.Kill)
		for want := 1; want <= 2; want++ {
			select {
			case <-times:
			case <-time.After(20 * time.Second):
				t.Fatalf("told %d times, want 2", want-1)
			}
		}
		if second != nil {
			if err := wait(t, vm); !errors.Is(err, second) {
				t.Errorf("ended with %v, want %v", err, second)
			}
			continue
		}
		if err := vm.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		after, err := built.clocks()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%q: KVM's clock went on by %v", name, time.Duration(after.clock-before.clock))
		if passed := time.Duration(after.clock - before.clock); passed > 900*time.Millisecond {
			t.Errorf("for the guest %v have passed while it waited for a second", passed)
		}
	}
}
