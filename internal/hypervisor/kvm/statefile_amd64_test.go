package kvm

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/kvmapi"
	"github.com/holtvm/holt/internal/virtio/mmio"
)

// someState is a state with something in every part.
func someState() State {
	s := State{Memory: 64 << 20, Clock: 1234, Serial: []byte(`{"version":1}`)}
	for i := range s.IRQChips {
		s.IRQChips[i].ID = uint32(i)
		s.IRQChips[i].Data[511] = 7
	}
	for i := range 2 {
		c := VCPUState{CPUID: cpuid{{Function: 1, EAX: uint32(i)}}, TSCKHz: 1000, XSave: []byte{1, 2}, LAPIC: []byte{3}, MSRs: []kvmapi.MSREntry{{Index: 0x10, Data: 1 << 63}}, MPState: 1}
		c.Regs.RIP, c.Sregs.CR3, c.Events.NMI.Masked, c.Debug.DR7 = 1<<64-1, 0x1000, 1, 0x400
		c.XCRs.N, c.XCRs.XCRs[0].Value = 1, 7
		s.VCPUs = append(s.VCPUs, c)
	}
	for _, own := range []string{`{"version":1}`, "any\nbytes\x00at all"} {
		s.Devices = append(s.Devices, mmio.State{Type: 4, Status: 15, Queues: []mmio.QueueState{{Size: 8, Ready: true, Desc: 1 << 40}}, Device: []byte(own)})
	}
	return s
}

func TestStateFile(t *testing.T) {
	want := someState()
	text, err := encodeState(want)
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(text, []byte("\n")); lines != 1+2+2*2 {
		t.Errorf("%d lines:\n%s", lines, text)
	}
	got, err := decodeState(text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
}

func TestBadStateFiles(t *testing.T) {
	text, err := encodeState(someState())
	if err != nil {
		t.Fatal(err)
	}
	good := string(text)
	lines := strings.SplitAfter(good, "\n")
	vcpu, device := lines[1], lines[3]
	with := func(n int, line string) string {
		return strings.Join(lines[:n], "") + line + strings.Join(lines[n+1:], "")
	}
	long := func(line string, n int) string { return line[:len(line)-2] + strings.Repeat(" ", n) + "}\n" }
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "cut off"},
		{"no JSON", "MZ\n", "invalid character"},
		{"another version", strings.Replace(good, `"version":2`, `"version":3`, 1), "its version is 3, this holt knows 2"},
		{"the first version", `{"version":1,"memory":67108864,"clock":{"Clock":1,"Flags":0},"irqchips":[{"ID":0}],"vcpus":1,"devices":0}` + "\n", "its version is 1, this holt knows 2"},
		{"no vCPU", strings.Replace(good, `"vcpus":2`, `"vcpus":0`, 1), "0 vCPUs: 1 to 64"},
		{"many vCPUs", strings.Replace(good, `"vcpus":2`, `"vcpus":65`, 1), "65 vCPUs: 1 to 64"},
		{"fewer devices than none", strings.Replace(good, `"devices":2`, `"devices":-1`, 1), "-1 devices"},
		{"many devices", strings.Replace(good, `"devices":2`, `"devices":5000`, 1), "5000 devices"},
		{"more vCPUs than told", with(2, vcpu+vcpu), "device 0"},
		{"fewer vCPUs than told", with(2, ""), "vCPU 1: regs has 0 bytes, want 144"},
		{"registers cut off", strings.Replace(good, `"regs":"`, `"regs":"AAAA`, 1), "vCPU 0: regs has 147 bytes, want 144"},
		{"half an MSR", strings.Replace(good, `"msrs":"`, `"msrs":"AAAA`, 1), "vCPU 0: msrs has 19 bytes, want a multiple of 16"},
		{"no interrupt controllers", strings.Replace(good, `"irqchip":"`, `"chips":"`, 1), "irqchips has 0 bytes, want 1560"},
		{"a vCPU that is none", with(2, "[]\n"), "vCPU 1"},
		{"a device that is none", with(3, "7\n"), "device 0"},
		{"a device's own state that is none", with(4, "{}\n"), "device 0"},
		{"cut in a line", good[:len(good)-2], "device 1: it is cut off"},
		{"a line missing", strings.TrimSuffix(good, lines[len(lines)-2]), "device 1: it is cut off"},
		{"more at the end", good + "\n", "1 bytes behind its end"},
		{"a long machine", long(lines[0], maxMachineLine), "more than 65536 bytes"},
		{"a long vCPU", with(2, long(vcpu, maxVCPULine)), "vCPU 1: a line of more than 262144 bytes"},
		{"a long transport", with(3, long(device, maxTransportLine)), "device 0: a line of more than 65536 bytes"},
	} {
		_, err := decodeState([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// FuzzDecodeState: what is accepted is as bounded as it has to be, and is written as
// it was read.
func FuzzDecodeState(f *testing.F) {
	text, err := encodeState(someState())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add([]byte(`{"version":2,"vcpus":1,"devices":0}` + "\n{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := decodeState(text)
		if err != nil {
			return
		}
		if len(s.VCPUs) < 1 || len(s.VCPUs) > MaxVCPUs || len(s.Devices) > maxDevices {
			t.Fatalf("%d vCPUs, %d devices", len(s.VCPUs), len(s.Devices))
		}
		first, err := encodeState(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeState(first)
		if err != nil {
			t.Fatalf("%s: written as %s, and reading that: %v", text, first, err)
		}
		if second, _ := encodeState(again); !bytes.Equal(first, second) {
			t.Fatalf("%s, then %s", first, second)
		}
	})
}

// FuzzOrigin lets a machine go on from almost anything. It is refused or runs for a
// few milliseconds; its monitor stays well.
func FuzzOrigin(f *testing.F) {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		f.Skipf("this host has no KVM: %v", err)
	}
	m := spec(f, codeSpin)
	m.VCPUs = 2
	m.Console, m.Logger = io.Discard, slog.New(slog.DiscardHandler)
	m.Devices = everyDevice(f)
	first := launch(f, m)
	for _, d := range first.(*vm).m.devices {
		first.(*vm).m.bring(d, "driver ok")
	}
	origin := save(f, first)
	lines := bytes.SplitAfter(origin.State, []byte("\n"))
	for n, line := range lines[:len(lines)-1] {
		f.Add(uint8(n), line) // as it is
		for _, change := range [][2]string{{`0`, `1`}, {`1`, `9`}, {`true`, `false`}, {`A`, `z`}, {`0`, `18446744073709551615`}} {
			f.Add(uint8(n), bytes.ReplaceAll(line, []byte(change[0]), []byte(change[1])))
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, line []byte) {
		hang(t, 20*time.Second)
		changed := slices.Clone(lines)
		changed[int(n)%(len(lines)-1)] = line
		m := m
		m.Devices = everyDevice(t)
		m.Origin = &hypervisor.Origin{State: bytes.Join(changed, nil), Memory: origin.Memory}
		guest, err := Backend{}.Start(t.Context(), m)
		if err != nil {
			return
		}
		select {
		case <-guest.Done():
		case <-time.After(3 * time.Millisecond):
			// It may end by itself meanwhile; then neither does anything.
			if guest.Pause(t.Context()) == nil {
				_ = guest.(hypervisor.Saver).Save(func([]byte, *guestmem.Memory) error { return nil })
			}
			_ = guest.Resume(t.Context())
		}
		guest.Kill()
	})
}
