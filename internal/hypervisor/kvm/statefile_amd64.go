package kvm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/holtvm/holt/internal/kvmapi"
	"github.com/holtvm/holt/internal/virtio/mmio"
)

// stateVersion is the version of what encodeState writes.
const stateVersion = 2

// What decodeState accepts at most. Memory for what it decodes grows with a line, not
// with the whole: a file cannot make it large with many small things.
const (
	maxMachineLine   = 64 << 10  // bytes
	maxVCPULine      = 256 << 10 // with all of 256 CPUID leaves, 500 MSRs and AMX
	maxTransportLine = 64 << 10
	maxDeviceLine    = 512 << 20 // of a device's own; what is in it is the device's to limit
	maxDevices       = 4096      // as many as there are windows
)

// machineLine is the first line.
type machineLine struct {
	Version  int             `json:"version"` // 2
	Memory   uint64          `json:"memory"`  // bytes
	Clock    uint64          `json:"clock_ns"`
	IRQChips packed          `json:"irqchip"`
	Serial   json.RawMessage `json:"serial"`
	VCPUs    int             `json:"vcpus"`
	Devices  int             `json:"devices"`
}

// vcpuLine is a vCPU's.
type vcpuLine struct {
	CPUID   packed `json:"cpuid"`
	TSCKHz  uint32 `json:"tsc_khz,omitempty"`
	Regs    packed `json:"regs"`
	Sregs   packed `json:"sregs"`
	XSave   packed `json:"xsave"`
	XCRs    packed `json:"xcrs"`
	MSRs    packed `json:"msrs"`
	LAPIC   packed `json:"lapic"`
	Events  packed `json:"events"`
	Debug   packed `json:"debug"`
	MPState uint32 `json:"mp_state"`
}

// packed is one of KVM's structures, or several, as they are in memory; base64 in JSON.
// Each of their fields by name would take a monitor as long as the rest of a restore, and
// 100 KiB of its memory for reflection.
type packed []byte

func pack(v any) packed {
	b, _ := binary.Append(nil, binary.LittleEndian, v) // an error would be v's type's
	return b
}

// unpack reads p into v, a pointer to a structure of that size.
func (p packed) unpack(name string, v any) error {
	if n := binary.Size(v); n != len(p) {
		return fmt.Errorf("%s has %d bytes, want %d", name, len(p), n)
	}
	_, err := binary.Decode(p, binary.LittleEndian, v)
	return err
}

// unpackAll reads p as structures, as many as there are.
func unpackAll[T any](name string, p packed) ([]T, error) {
	size := binary.Size(*new(T))
	if len(p)%size != 0 {
		return nil, fmt.Errorf("%s has %d bytes, want a multiple of %d", name, len(p), size)
	}
	all := make([]T, len(p)/size)
	return all, p.unpack(name, all)
}

func (s VCPUState) line() vcpuLine {
	return vcpuLine{
		CPUID: pack([]kvmapi.CPUIDEntry(s.CPUID)), TSCKHz: s.TSCKHz, Regs: pack(s.Regs), Sregs: pack(s.Sregs), XSave: s.XSave,
		XCRs: pack(s.XCRs), MSRs: pack(s.MSRs), LAPIC: s.LAPIC, Events: pack(s.Events), Debug: pack(s.Debug), MPState: s.MPState,
	}
}

func (l vcpuLine) state() (s VCPUState, err error) {
	s = VCPUState{TSCKHz: l.TSCKHz, XSave: l.XSave, LAPIC: l.LAPIC, MPState: l.MPState}
	var cpuidErr, msrsErr error
	s.CPUID, cpuidErr = unpackAll[kvmapi.CPUIDEntry]("cpuid", l.CPUID)
	s.MSRs, msrsErr = unpackAll[kvmapi.MSREntry]("msrs", l.MSRs)
	return s, errors.Join(cpuidErr, msrsErr, l.Regs.unpack("regs", &s.Regs), l.Sregs.unpack("sregs", &s.Sregs),
		l.XCRs.unpack("xcrs", &s.XCRs), l.Events.unpack("events", &s.Events), l.Debug.unpack("debug", &s.Debug))
}

// encodeState is s in lines of JSON: one of the machine, one of each vCPU, and two of
// each device, the first its transport and the second, in base64, its own.
func encodeState(s State) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out) // ends each with a newline, and writes none inside
	if err := enc.Encode(machineLine{stateVersion, s.Memory, s.Clock, pack(s.IRQChips), s.Serial, len(s.VCPUs), len(s.Devices)}); err != nil {
		return nil, err
	}
	for _, c := range s.VCPUs {
		if err := enc.Encode(c.line()); err != nil {
			return nil, err
		}
	}
	for _, d := range s.Devices {
		own := d.Device
		d.Device = nil
		if err := errors.Join(enc.Encode(d), enc.Encode(own)); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// decodeState reads what encodeState wrote. It may be from anywhere: what it says is
// only bounded here, and means something only to KVM and the devices.
func decodeState(b []byte) (s State, err error) {
	var m machineLine
	if err := cutLine(&b, maxMachineLine, &m); err != nil {
		return s, err
	}
	switch {
	case m.Version != stateVersion:
		return s, fmt.Errorf("its version is %d, this holt knows %d", m.Version, stateVersion)
	case m.VCPUs < 1 || m.VCPUs > MaxVCPUs:
		return s, fmt.Errorf("%d vCPUs: 1 to %d are possible", m.VCPUs, MaxVCPUs)
	case m.Devices < 0 || m.Devices > maxDevices:
		return s, fmt.Errorf("%d devices: at most %d are possible", m.Devices, maxDevices)
	}
	s = State{Memory: m.Memory, Clock: m.Clock, Serial: m.Serial}
	if err := m.IRQChips.unpack("irqchips", &s.IRQChips); err != nil {
		return s, err
	}
	for i := range m.VCPUs {
		var line vcpuLine
		if err := cutLine(&b, maxVCPULine, &line); err != nil {
			return s, fmt.Errorf("vCPU %d: %w", i, err)
		}
		c, err := line.state()
		if err != nil {
			return s, fmt.Errorf("vCPU %d: %w", i, err)
		}
		s.VCPUs = append(s.VCPUs, c)
	}
	for i := range m.Devices {
		var d mmio.State
		if err := cutLine(&b, maxTransportLine, &d); err != nil {
			return s, fmt.Errorf("device %d: %w", i, err)
		}
		d.Device = nil
		if err := cutLine(&b, maxDeviceLine, &d.Device); err != nil {
			return s, fmt.Errorf("device %d: %w", i, err)
		}
		s.Devices = append(s.Devices, d)
	}
	if len(b) > 0 {
		return s, fmt.Errorf("%d bytes behind its end", len(b))
	}
	return s, nil
}

// cutLine decodes the first line of b into v and takes it off b.
func cutLine(b *[]byte, most int, v any) error {
	n := slices.Index((*b)[:min(len(*b), most+1)], '\n')
	switch {
	case n < 0 && len(*b) > most:
		return fmt.Errorf("a line of more than %d bytes", most)
	case n < 0:
		return errors.New("it is cut off")
	}
	text := (*b)[:n]
	*b = (*b)[n+1:]
	return json.Unmarshal(text, v)
}
