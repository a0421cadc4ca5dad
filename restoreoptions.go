package holt

// ReplaceDir gives a VM that goes on from a saved one another host directory at a path
// of the guest's where the saved one had one; "/" is the root. The guest finds its
// files there by name. A path where the saved VM had no directory is an error. Whether
// the guest may write there stays as it was.
func ReplaceDir(host, guest string) Option {
	return func(o *options) { o.dirs = append(o.dirs, PathPair{Host: host, Guest: guest}) }
}

// ReplaceDisk gives a VM that goes on from a saved one another disk for the one that
// has a name, "root" or "disk0" and so on. It must have the same content and size, which
// is not checked, and be read-only if that was. What the guest writes goes there.
func ReplaceDisk(name string, disk Disk) Option {
	return func(o *options) {
		if o.disks == nil {
			o.disks = map[string]Disk{}
		}
		o.disks[name] = disk
	}
}

// ReplacePorts publishes these ports of a VM that goes on from a saved one, in place
// of those that the saved one published; none without arguments.
func ReplacePorts(ports ...PortPair) Option {
	return func(o *options) { o.ports = &ports }
}

// Keep makes a VM that goes on from a saved one stay, as those do that [Create] makes. Its
// later starts boot it.
func Keep() Option { return func(o *options) { o.keep = true } }

// Prefetch makes the pages ready that the snapshot's working set has, before the guest
// goes on: see [Snapshot.RecordWorkingSet]. Without one it changes nothing.
func Prefetch() Option { return func(o *options) { o.prefetch = true } }
