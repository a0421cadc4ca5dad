package holt

import (
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"testing"
)

func TestMemoryBytes(t *testing.T) {
	for mb, want := range map[uint32]int{0: 0, 1: 1 << 20, 512: 512 << 20, 2047: 2047 << 20} {
		if got, err := (Config{MemoryMB: mb}).MemoryBytes(); err != nil || got != want {
			t.Errorf("%d MiB = %d bytes, %v; want %d", mb, got, err, want)
		}
	}
}

func TestMemoryBytesOverflow(t *testing.T) {
	if got, err := mebibytes(2047, math.MaxInt32); err != nil || got != 2047<<20 {
		t.Errorf("2047 MiB on a 32-bit host: %d, %v", got, err)
	}
	for _, mb := range []uint32{2048, 4095, 4096, 4097, math.MaxUint32} {
		got, err := mebibytes(mb, math.MaxInt32)
		var field *FieldError
		if !errors.As(err, &field) || field.Field != "memory_mb" || got != 0 {
			t.Errorf("%d MiB on a 32-bit host: %d, %v; want a FieldError", mb, got, err)
		}
	}
	if strconv.IntSize < 64 {
		return
	}
	if got, err := mebibytes(math.MaxUint32, math.MaxInt64); err != nil || uint64(got) != math.MaxUint32<<20 {
		t.Errorf("the largest memory_mb on a 64-bit host: %d, %v", got, err)
	}
}

// fullConfig returns a Config in which no field has its zero value. It names
// files that need not exist.
func fullConfig() Config {
	quota := uint64(50000)
	return Config{
		VCPUCount:         2,
		MemoryMB:          1024,
		CPUQuotaUS:        &quota,
		Nested:            true,
		CPUTemplate:       "x86-64-v2",
		KernelPath:        "/k",
		RootfsPath:        "/fs",
		RootPath:          "/r",
		RootDisk:          Disk{"/d", true},
		RootOverlay:       true,
		Disks:             []Disk{{"/e", false}},
		MappedDirs:        []PathPair{{"/a", "/b", true}},
		ExecPath:          "/bin/x",
		Args:              []string{"a"},
		Env:               []EnvPair{{"K", "v"}},
		WorkdirPath:       "/w",
		Rlimits:           []Rlimit{{RlimitCore, 1, 2}},
		Network:           NetworkLocal,
		NetworkRules:      []NetworkRule{mustRule("deny any")},
		PortMap:           []PortPair{{Host: 1, Guest: 2}},
		AssignedIP:        netip.MustParseAddr("10.0.2.15"),
		AssignedPrefixLen: 16,
		LocalOnly:         true,
		DNSServers:        []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")},
		PacketCapture:     "/p",
		ConsoleOutput:     "/c",
		LogLevel:          LogInfo,
	}
}

func mustRule(text string) NetworkRule {
	r, err := ParseNetworkRule(text)
	if err != nil {
		panic(err)
	}
	return r
}

// A field that somebody adds and Equal or clone forgets fails here.
func TestEqualAndCloneKnowEveryField(t *testing.T) {
	full := reflect.TypeFor[Config]()
	for i := range full.NumField() {
		name := full.Field(i).Name
		if reflect.ValueOf(fullConfig()).Field(i).IsZero() {
			t.Errorf("fullConfig leaves %s zero", name)
		}
		other := fullConfig()
		reflect.ValueOf(&other).Elem().Field(i).SetZero()
		if fullConfig().Equal(other) || other.Equal(fullConfig()) {
			t.Errorf("Equal does not look at %s", name)
		}
	}

	original := fullConfig()
	copied := original.clone()
	if !original.Equal(copied) || !original.Equal(fullConfig()) {
		t.Error("equal values differ")
	}
	for i := range full.NumField() {
		field := reflect.ValueOf(&copied).Elem().Field(i)
		switch field.Kind() {
		case reflect.Slice:
			field.Index(0).SetZero()
		case reflect.Pointer:
			field.Elem().SetZero()
		default:
			continue
		}
		if !original.Equal(fullConfig()) {
			t.Fatalf("clone shares %s", full.Field(i).Name)
		}
	}
}

func TestEqualTreatsNilAndEmptyAlike(t *testing.T) {
	empty := DefaultConfig()
	empty.MappedDirs = []PathPair{}
	empty.Args = []string{}
	empty.Env = []EnvPair{}
	empty.Rlimits = []Rlimit{}
	empty.PortMap = []PortPair{}
	if !empty.Equal(DefaultConfig()) || !DefaultConfig().Equal(empty) {
		t.Error("empty lists differ from nil ones")
	}
}
