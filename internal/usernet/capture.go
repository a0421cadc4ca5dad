package usernet

import (
	"encoding/binary"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/holtvm/holt/internal/netframe"
)

// The pcap file format, as libpcap writes it with nanoseconds (pcap-savefile(5)).
const (
	pcapMagic    = 0xa1b23c4d
	pcapSnapLen  = 1 << 17 // bytes; above netframe.MaxSize
	pcapEthernet = 1       // LINKTYPE_ETHERNET
	pcapHeader   = 16      // of each frame, bytes
)

// captureBytes is how much of the capture may wait to be written.
const captureBytes = 8 << 20

// capture writes frames to a pcap file. Writing is left to a goroutine, so that a
// slow disk does not slow down the network: what it has no room for is missing
// in the file. A nil capture does nothing.
type capture struct {
	w    io.Writer
	log  *slog.Logger
	mu   sync.Mutex
	buf  []byte // frames in the file's format
	lost int
	end  bool
	wake chan struct{} // of capacity 1
	done chan error    // gets the first error when the goroutine has ended
}

func newCapture(w io.Writer, log *slog.Logger) *capture {
	c := &capture{w: w, log: log, wake: make(chan struct{}, 1), done: make(chan error, 1)}
	le := binary.LittleEndian
	b := le.AppendUint32(nil, pcapMagic)
	b = le.AppendUint16(b, 2) // version 2.4
	b = le.AppendUint16(b, 4)
	b = le.AppendUint64(b, 0) // time zone and accuracy, never used
	b = le.AppendUint32(b, pcapSnapLen)
	c.buf = le.AppendUint32(b, pcapEthernet)
	go c.run()
	c.wake <- struct{}{}
	return c
}

// add appends a frame as of now.
func (c *capture) add(f netframe.Frame) {
	if c == nil {
		return
	}
	size := f.Len()
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end {
		return
	}
	if len(c.buf)+pcapHeader+size > captureBytes {
		c.lost++
		return
	}
	le := binary.LittleEndian
	b := le.AppendUint32(c.buf, uint32(now.Unix()))
	b = le.AppendUint32(b, uint32(now.Nanosecond()))
	b = le.AppendUint32(b, uint32(size))
	b = le.AppendUint32(b, uint32(size))
	for _, p := range f.Parts {
		b = append(b, p...)
	}
	c.buf = b
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run writes what add appends, until close or an error.
func (c *capture) run() {
	var spare []byte
	for range c.wake {
		c.mu.Lock()
		b, end := c.buf, c.end
		c.buf = spare[:0]
		c.mu.Unlock()
		if len(b) > 0 {
			if _, err := c.w.Write(b); err != nil {
				c.stop()
				c.log.Warn("the packet capture ends here: it cannot be written", slog.Any("error", err))
				c.done <- err
				return
			}
		}
		if end {
			break
		}
		spare = b
	}
	c.done <- nil
}

// stop makes add do nothing.
func (c *capture) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = true
}

// close writes what is left.
func (c *capture) close() error {
	if c == nil {
		return nil
	}
	c.stop()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	err := <-c.done
	if c.lost > 0 {
		c.log.Warn("frames are missing in the packet capture: it was not written fast enough", slog.Int("frames", c.lost))
	}
	return err
}
