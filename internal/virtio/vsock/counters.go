package vsock

// Counters are numbers of connections.
type Counters struct {
	Connections uint64 // since the device was made; tries that nobody answered, too
	Open        int    // now
}

// Counters returns the numbers of connections.
func (d *Device) Counters() Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Counters{Connections: d.made, Open: len(d.conns)}
}
