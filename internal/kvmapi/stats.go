package kvmapi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Sizes of struct kvm_stats_header, and of struct kvm_stats_desc without the
// name at its end (api.rst, 4.133).
const (
	statsHeaderSize = 24
	statsDescSize   = 16
)

// Limits on what the header may announce. Linux 6.18 has 50 counters in a vCPU
// and names of 48 bytes.
const (
	maxStats     = 4096
	maxStatsName = 256
	maxStatsData = 1 << 20 // bytes
)

// The types of struct kvm_stats_desc's flags. From linear histograms on, a
// counter is more than one number.
const (
	statsTypeMask   = 0xF
	statsTypeLinear = 0x3
)

// ReadStats reads a descriptor of [VCPU.StatsFD]: each counter's value by its name,
// such as "exits", "io_exits", "mmio_exits", "halt_exits", "irq_exits" and
// "pf_taken". Names differ between kernels and architectures. Histograms are left
// out.
func ReadStats(f *os.File) (map[string]uint64, error) {
	stats, err := readStats(f)
	if err != nil {
		return nil, fmt.Errorf("read kvm statistics: %w", err)
	}
	return stats, nil
}

func readStats(r io.ReaderAt) (map[string]uint64, error) {
	var header [statsHeaderSize]byte
	if err := readFull(r, header[:], 0); err != nil {
		return nil, err
	}
	u32 := binary.NativeEndian.Uint32
	nameSize, count := u32(header[4:]), u32(header[8:])
	descOffset, dataOffset := u32(header[16:]), u32(header[20:])
	if count > maxStats || nameSize > maxStatsName {
		return nil, fmt.Errorf("%d counters with names of %d bytes: more than %d and %d", count, nameSize, maxStats, maxStatsName)
	}
	size := statsDescSize + int(nameSize)
	descs := make([]byte, int(count)*size)
	if err := readFull(r, descs, descOffset); err != nil {
		return nil, err
	}

	offsets := make(map[string]uint32, count) // by name, from dataOffset
	end := uint32(0)
	for ; len(descs) > 0; descs = descs[size:] {
		flags, values := u32(descs), binary.NativeEndian.Uint16(descs[6:])
		offset := u32(descs[8:])
		name, _, _ := bytes.Cut(descs[statsDescSize:size], []byte{0})
		if flags&statsTypeMask >= statsTypeLinear || values != 1 {
			continue
		}
		if offset > maxStatsData-8 {
			return nil, fmt.Errorf("counter %q is at %d", name, offset)
		}
		offsets[string(name)] = offset
		end = max(end, offset+8)
	}
	// One read, so that the numbers are of one moment.
	data := make([]byte, end)
	if err := readFull(r, data, dataOffset); err != nil {
		return nil, err
	}
	stats := make(map[string]uint64, len(offsets))
	for name, offset := range offsets {
		stats[name] = binary.NativeEndian.Uint64(data[offset:])
	}
	return stats, nil
}

// readFull fills b from offset on.
func readFull(r io.ReaderAt, b []byte, offset uint32) error {
	n, err := r.ReadAt(b, int64(offset))
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
