package console

import (
	"io"
)

// maxPrint is how many bytes of one request are printed. A driver prints a page at
// most; a hostile one could have the same memory printed many times over, and keep
// StopQueue waiting.
const maxPrint = 64 << 10

// print hands everything in the transmit queue to the writer. Errors of the
// writer are its own affair: the guest must not stop for them.
func (d *Device) print() {
	for {
		ok, err := d.tx.Pop(&d.chain)
		if err != nil {
			return
		}
		if !ok {
			if d.tx.EnableKicks() {
				continue
			}
			return
		}
		left := maxPrint
		for _, b := range d.chain.Readable {
			n := min(len(b), left)
			_, _ = d.out.Write(b[:n])
			if left -= n; left == 0 {
				break
			}
		}
		d.tx.Push(&d.chain, 0)
		d.tx.Signal()
	}
}

// Write types p into the guest. It blocks while the guest has no buffer for it,
// and returns io.ErrClosedPipe once Close was called.
func (d *Device) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for n < len(p) {
		if d.closed {
			return n, io.ErrClosedPipe
		}
		k, ok := d.fill(p[n:])
		n += k
		if !ok {
			d.room.Wait()
			continue
		}
		// A guest whose buffers have no room must not keep StopQueue waiting.
		d.mu.Unlock()
		d.mu.Lock()
	}
	return n, nil
}

// fill puts bytes into the guest's next receive buffer, if there is one.
func (d *Device) fill(p []byte) (int, bool) {
	for d.rx != nil {
		ok, err := d.rx.Pop(&d.rxIn)
		if err != nil {
			return 0, false
		}
		if ok {
			n := d.rxIn.Write(p, 0)
			d.rx.Push(&d.rxIn, n)
			d.rx.Signal()
			return n, true
		}
		if !d.rx.EnableKicks() {
			return 0, false
		}
	}
	return 0, false
}

// Close ends blocked and later Writes.
func (d *Device) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.room.Broadcast()
	return nil
}
