package blk

import "encoding/binary"

// diskRange is what a discard or write-zeroes request names (5.2.6,
// virtio_blk_discard_write_zeroes).
type diskRange struct {
	off, n int64 // bytes
	unmap  bool
}

const (
	rangeSize  = 16     // bytes of a range in a request
	rangeUnmap = 1 << 0 // the only flag
)

// serveRanges carries out a discard or write-zeroes request: all its ranges, or none
// if one of them is not as it should be.
func (r *request) serveRanges() error {
	d, discard := r.d, r.kind == typeDiscard
	feature, many, most := featureWriteZeroes, maxZeroesRanges, uint64(maxZeroesSectors)
	if discard {
		feature, many, most = featureDiscard, maxDiscardRanges, maxDiscardSectors
	}
	if d.features&feature == 0 {
		return errUnsupported
	}
	var room [maxDiscardRanges]diskRange
	ranges, err := r.parseRanges(room[:0], many, most)
	if err != nil {
		return err
	}
	for _, x := range ranges {
		switch {
		case x.n == 0:
		case discard:
			err = d.disk.Discard(x.off, x.n)
		default:
			err = d.disk.WriteZeroes(x.off, x.n, x.unmap)
		}
		if err != nil {
			return err
		}
	}
	return d.written()
}

// parseRanges appends the ranges behind the header to ranges: up to many, each of up
// to most sectors. What is checked was copied before.
func (r *request) parseRanges(ranges []diskRange, many int, most uint64) ([]diskRange, error) {
	var raw [maxDiscardRanges*rangeSize + 1]byte // one byte more shows that there are too many
	n := 0
	for _, b := range r.out {
		n += copy(raw[n:], b)
	}
	if n == 0 || n%rangeSize != 0 || n > many*rangeSize {
		return nil, errRefused
	}
	le := binary.LittleEndian
	for p := raw[:n]; len(p) > 0; p = p[rangeSize:] {
		sectors, flags := uint64(le.Uint32(p[8:])), le.Uint32(p[12:])
		if flags&^rangeUnmap != 0 || flags != 0 && r.kind == typeDiscard {
			return nil, errUnsupported // 5.2.6.2
		}
		off, ok := r.d.extent(le.Uint64(p), int(sectors*sectorSize))
		if !ok || sectors > most {
			return nil, errRefused
		}
		ranges = append(ranges, diskRange{off, int64(sectors * sectorSize), flags != 0})
	}
	return ranges, nil
}
