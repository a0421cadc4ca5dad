package diskimage

// WriteAtv writes bufs, one after the other, from offset off on.
func (o *Overlay) WriteAtv(bufs [][]byte, off int64) error {
	return o.change(off, length(bufs), func() error { return o.top.WriteAtv(bufs, off) })
}

// TryWrite is WriteAtv if that is not expected to wait for the host's disk. Otherwise
// it does nothing and reports false.
func (o *Overlay) TryWrite(bufs [][]byte, off int64) (done bool, err error) {
	n := length(bufs)
	if n == 0 {
		return true, nil
	}
	if o.tears(off/blockSize, off, n) || o.tears((off+n-1)/blockSize, off, n) || !o.mu.TryRLock() {
		return false, nil
	}
	defer o.mu.RUnlock()
	if done, err = o.top.TryWrite(bufs, off); done && err == nil {
		o.written(off, n)
	}
	return done, err
}

// Flush does nothing. It is to make what was written safe from a loss of power, or of
// this process; but neither leaves anybody who could find the changes.
func (o *Overlay) Flush() error { return nil }

// TryFlush is Flush.
func (o *Overlay) TryFlush() (done bool, err error) { return true, nil }

// Discard gives the space of n bytes from off on back to the host, as far as it can
// be: what they read as afterwards has no meaning.
func (o *Overlay) Discard(off, n int64) error {
	end := off + n
	off = (off + blockSize - 1) / blockSize * blockSize
	if end != o.Size() {
		end = end / blockSize * blockSize
	}
	if off >= end {
		return nil
	}
	// What the base has there is not wanted any more, either: a copy need not have it.
	return o.change(off, end-off, func() error { return o.top.Discard(off, end-off) })
}

// WriteZeroes makes n bytes from off on zero. They take no space, even without unmap:
// whether there is some when they are written can be promised for no part of an
// Overlay.
func (o *Overlay) WriteZeroes(off, n int64, _ bool) error {
	return o.change(off, n, func() error { return o.top.WriteZeroes(off, n, true) })
}

// change calls write, which changes n bytes of top from off on. Blocks of which it
// changes only a part are moved there before.
func (o *Overlay) change(off, n int64, write func() error) error {
	if n == 0 {
		return nil
	}
	for _, block := range [...]int64{off / blockSize, (off + n - 1) / blockSize} {
		if !o.tears(block, off, n) {
			continue
		}
		if err := o.move(block); err != nil {
			return err
		}
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	if err := write(); err != nil {
		return err
	}
	o.written(off, n)
	return nil
}

// tears reports whether a change of n bytes from off on would leave a part of a
// block's behind in base.
func (o *Overlay) tears(block, off, n int64) bool {
	at := block * blockSize
	return (at < off || off+n < min(at+blockSize, o.Size())) && !o.own.has(block)
}

// move copies a block from base to top, unless it has been written meanwhile. Those who
// write other parts of it at the same time find all of it there.
func (o *Overlay) move(block int64) error {
	at := block * blockSize
	b := [][]byte{make([]byte, min(blockSize, o.Size()-at))}
	if err := o.base.ReadAtv(b, at); err != nil { // without the lock: it may take long
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.own.has(block) {
		return nil
	}
	if err := o.top.WriteAtv(b, at); err != nil {
		return err
	}
	o.own.set(block, block+1)
	return nil
}

// written notes that top has n bytes from off on, in blocks that are all there.
func (o *Overlay) written(off, n int64) {
	o.own.set(off/blockSize, (off+n-1)/blockSize+1)
}
