package kvmapi

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"slices"
	"testing"
)

// counter is a descriptor of a statistics file.
type counter struct {
	flags  uint32
	size   uint16
	offset uint32
	name   string // 16 bytes at most
}

// statsFile lays out a statistics file with names of 16 bytes: header, id,
// descriptors, data.
func statsFile(data []uint64, counters ...counter) []byte {
	const name = 16
	desc := uint32(24 + name)
	end := desc + uint32(len(counters))*(16+name)
	var f []byte
	for _, v := range []uint32{0, name, uint32(len(counters)), 24, desc, end} {
		f = binary.NativeEndian.AppendUint32(f, v)
	}
	f = append(f, make([]byte, name)...)
	for _, c := range counters {
		f = binary.NativeEndian.AppendUint32(f, c.flags)
		f = binary.NativeEndian.AppendUint16(f, 0)
		f = binary.NativeEndian.AppendUint16(f, c.size)
		f = binary.NativeEndian.AppendUint32(f, c.offset)
		f = binary.NativeEndian.AppendUint32(f, 0)
		f = append(f, append([]byte(c.name), make([]byte, name-len(c.name))...)...)
	}
	for _, v := range data {
		f = binary.NativeEndian.AppendUint64(f, v)
	}
	return f
}

func TestReadStats(t *testing.T) {
	for _, c := range []struct {
		name string
		file []byte
		want map[string]uint64
	}{
		{"none", statsFile(nil), map[string]uint64{}},
		{
			"all types", statsFile([]uint64{7, 8, 1, 2, 9, 3},
				counter{flags: 0, size: 1, offset: 0, name: "exits"},
				counter{flags: 1, size: 1, offset: 8, name: "guest_mode"},
				counter{flags: 3, size: 2, offset: 16, name: "linear"},
				counter{flags: 2 | 4<<4, size: 1, offset: 32, name: "peak"},
				counter{flags: 4, size: 1, offset: 40, name: "log"}),
			map[string]uint64{"exits": 7, "guest_mode": 8, "peak": 9},
		},
		{
			"a name without an end", statsFile([]uint64{7}, counter{size: 1, name: "0123456789abcdef"}),
			map[string]uint64{"0123456789abcdef": 7},
		},
		{
			"a scalar of two numbers", statsFile([]uint64{7}, counter{size: 2, name: "odd"}),
			map[string]uint64{},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readStats(bytes.NewReader(c.file))
			if err != nil || !maps.Equal(got, c.want) {
				t.Errorf("%v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestReadStatsRefusesOddFiles(t *testing.T) {
	good := statsFile([]uint64{7}, counter{size: 1, name: "exits"})
	with := func(offset int, v uint32) []byte {
		f := slices.Clone(good)
		binary.NativeEndian.PutUint32(f[offset:], v)
		return f
	}
	for name, file := range map[string][]byte{
		"empty":               nil,
		"half a header":       good[:20],
		"half a descriptor":   good[:50],
		"half a number":       good[:len(good)-1],
		"absurd names":        with(4, 1<<32-1),
		"absurd count":        with(8, 1<<32-1),
		"descriptors outside": with(16, 1<<32-1),
		"data outside":        with(20, 1<<32-1),
		"a number far away":   with(24+16+8, 1<<32-1),
		"a number outside":    with(24+16+8, 8),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := readStats(bytes.NewReader(file)); err == nil {
				t.Errorf("no error, and %v", got)
			}
		})
	}
	if _, err := readStats(bytes.NewReader(good[:50])); err != io.ErrUnexpectedEOF {
		t.Errorf("a short file is %v, want %v", err, io.ErrUnexpectedEOF)
	}
}
