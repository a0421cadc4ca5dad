package blk

import (
	"encoding/binary"
	"math"

	"github.com/holtvm/holt/internal/virtio"
)

// Offsets in the configuration space, 5.2.4. What is not named here is 0.
const (
	configCapacity          = 0 // u64, sectors
	configSizeMax           = 8
	configSegMax            = 12
	configBlkSize           = 20
	configPhysicalExp       = 24 // u8
	configMinIO             = 26 // u16, logical blocks
	configWriteback         = 32 // u8
	configNumQueues         = 34 // u16
	configMaxDiscardSectors = 36
	configMaxDiscardSeg     = 40
	configDiscardAlign      = 44
	configMaxZeroesSectors  = 48
	configMaxZeroesSeg      = 52
	configZeroesMayUnmap    = 56 // u8
	configSize              = 60
)

const (
	// segMax is how many buffers of data a request has at most: the queue's
	// entries without those for header and status. sizeMax is how long each is, in
	// bytes.
	segMax  = queueSize - 2
	sizeMax = 256 << 10
	// maxData is how much data a request has at most, in bytes. A hostile driver
	// could name the same memory again and again, and keep StopQueue waiting while
	// its whole disk is copied there.
	maxData = segMax * sizeMax
	// physicalExp: the host works in blocks of 512 << 3 bytes, like most file
	// systems and disks. Smaller pieces work, and are slower.
	physicalExp     = 3
	physicalSectors = 1 << physicalExp

	// How many ranges one discard or write-zeroes request has, and how many sectors
	// each. Zeros may have to be written byte by byte.
	maxDiscardRanges  = 32
	maxDiscardSectors = math.MaxUint32 >> 9 &^ (physicalSectors - 1) // 4 GiB, nearly
	maxZeroesRanges   = 1
	maxZeroesSectors  = 32 << 20 / sectorSize
)

// ReadConfig implements virtio.Device (5.2.4).
func (d *Device) ReadConfig(off uint32, p []byte) {
	var c [configSize]byte
	le := binary.LittleEndian
	le.PutUint64(c[configCapacity:], d.sectors)
	le.PutUint32(c[configSizeMax:], sizeMax)
	le.PutUint32(c[configSegMax:], segMax)
	le.PutUint32(c[configBlkSize:], sectorSize)
	c[configPhysicalExp] = physicalExp
	le.PutUint16(c[configMinIO:], physicalSectors)
	c[configWriteback] = 1
	le.PutUint16(c[configNumQueues:], uint16(len(d.queues)))
	if !d.opts.ReadOnly {
		le.PutUint32(c[configMaxDiscardSectors:], maxDiscardSectors)
		le.PutUint32(c[configMaxDiscardSeg:], maxDiscardRanges)
		le.PutUint32(c[configDiscardAlign:], physicalSectors)
		le.PutUint32(c[configMaxZeroesSectors:], maxZeroesSectors)
		le.PutUint32(c[configMaxZeroesSeg:], maxZeroesRanges)
		c[configZeroesMayUnmap] = 1
	}
	virtio.ReadConfigSpace(c[:], off, p)
}

// WriteConfig implements virtio.Device: nothing is writable.
func (d *Device) WriteConfig(uint32, []byte) {}
