package vhostuser

// The protocol has no message for "the driver reset the device": QEMU 7.2 stops
// every ring and later starts them again, and it does exactly the same when the
// virtual machine is paused and continued. The device must forget everything in
// the first case and nothing in the second. What tells them apart is where the
// rings start: a paused one goes on where it stopped, a reset one starts at 0.
// So the device is reset when its rings start anew, before it sees them, or when
// the connection ends; never merely because they stopped.

// startReady starts every ring that has all it needs.
func (s *server) startReady() {
	for _, r := range s.rings {
		if !r.ready() || s.mem == nil || !s.negotiated {
			continue
		}
		if !s.running() {
			s.prepare()
		}
		r.start(s.dev, s.mem, s.features, r.next)
	}
}

// prepare brings the device to where the first ring may start.
func (s *server) prepare() {
	if s.resumes() {
		return
	}
	s.forget()
	s.deviceFeatures = s.features
	s.dev.SetFeatures(s.features & s.dev.Features())
}

// resumes reports whether the rings are about to go on where they stopped. All
// at 0 is a new start.
func (s *server) resumes() bool {
	moved := false
	for _, r := range s.rings {
		if !r.ran {
			continue
		}
		if !r.baseSet || r.next.base != r.position {
			return false
		}
		moved = moved || r.position != 0
	}
	return moved && s.features == s.deviceFeatures
}

// running reports whether any ring runs.
func (s *server) running() bool {
	for _, r := range s.rings {
		if r.queue != nil {
			return true
		}
	}
	return false
}

// forget resets the device if it still remembers an earlier run. No ring may
// run.
func (s *server) forget() {
	for _, r := range s.rings {
		if r.ran {
			s.reset()
			return
		}
	}
}

// reset resets the device. No ring may run.
func (s *server) reset() {
	s.dev.Reset()
	for _, r := range s.rings {
		r.ran = false
	}
}

// resetDevice stops all rings, disables them and resets the device.
func (s *server) resetDevice() {
	for _, r := range s.rings {
		r.stop(s.dev)
		r.enabled = false
	}
	s.reset()
}

// setMemory replaces guest memory. Rings that run go on at the same positions
// in the new memory; the old one stays mapped until they have left it.
func (s *server) setMemory(mem *memTable) error {
	var again []*ring
	for _, r := range s.rings {
		if r.queue != nil {
			r.stop(s.dev)
			again = append(again, r)
		}
	}
	old := s.mem
	s.mem = mem
	for _, r := range again {
		if !r.dead {
			with := r.current
			with.base = r.position
			r.start(s.dev, s.mem, s.features, with)
		}
	}
	s.startReady()
	return old.close()
}

// close leaves nothing running, mapped or open.
func (s *server) close() error {
	for _, r := range s.rings {
		r.stop(s.dev)
		r.close()
	}
	s.dev.Reset()
	return s.mem.close()
}
