package virtiotest

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/holtvm/holt/internal/virtio"
)

// StateSuite holds a device to what virtio.Device promises of SaveState and
// LoadState. newDevice makes one like any other; use has a driver use it, before and
// after its state moved to a fresh one: again is true for the latter.
func StateSuite(t *testing.T, newDevice func(t *testing.T) virtio.Device, use func(t *testing.T, d *Driver, again bool)) {
	save := func(t *testing.T, dev virtio.Device) []byte {
		t.Helper()
		state, err := dev.SaveState()
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	t.Run("fresh", func(t *testing.T) {
		state := save(t, newDevice(t))
		dev := newDevice(t)
		if err := dev.LoadState(state); err != nil {
			t.Fatal(err)
		}
		if again := save(t, dev); !bytes.Equal(state, again) {
			t.Errorf("saved %s, loaded and saved %s", state, again)
		}
		use(t, Start(t, dev, Options{Features: ^uint64(0), QueueSize: 64}), false)
	})
	t.Run("in use", func(t *testing.T) {
		d := Start(t, newDevice(t), Options{Features: ^uint64(0), QueueSize: 64})
		use(t, d, false)
		d.Pause()
		old := d.Dev
		state := save(t, old)
		dev := newDevice(t)
		if err := dev.LoadState(state); err != nil {
			t.Fatal(err)
		}
		if again := save(t, dev); !bytes.Equal(state, again) {
			t.Errorf("saved %s, loaded and saved %s", state, again)
		}
		d.Resume(dev)
		old.Reset() // what one has is not the other's
		use(t, d, true)
	})
	t.Run("bad", func(t *testing.T) {
		d := Start(t, newDevice(t), Options{Features: ^uint64(0), QueueSize: 64})
		use(t, d, false)
		d.Pause()
		state := save(t, d.Dev)
		dev := newDevice(t)
		for _, bad := range badStates(t, state) {
			if dev.LoadState(bad) == nil {
				t.Errorf("%.100q is accepted", bad)
			}
		}
		d.Resume(d.Dev)
	})
}

// badStates are states that no device may accept, made from a good one.
func badStates(t *testing.T, state []byte) [][]byte {
	var fields map[string]any
	if err := json.Unmarshal(state, &fields); err != nil {
		t.Fatalf("the state is not a JSON object: %v", err)
	}
	bad := [][]byte{nil, []byte("null"), []byte("[]"), []byte("{}"), state[:len(state)-1], append(bytes.Clone(state), 'x')}
	for _, version := range []any{-1, 0, 999, "1", nil} {
		fields["version"] = version
		changed, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		bad = append(bad, changed)
	}
	return bad
}

// FuzzState loads any bytes into a device: what is accepted can be saved, and loaded
// into another one, which then has the same state.
func FuzzState(f *testing.F, newDevice func(t testing.TB) virtio.Device) {
	state, err := newDevice(f).SaveState()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state)
	f.Fuzz(func(t *testing.T, state []byte) {
		dev := newDevice(t)
		if dev.LoadState(state) != nil {
			return
		}
		first, err := dev.SaveState()
		if err != nil {
			t.Fatalf("loaded %s, cannot save: %v", state, err)
		}
		other := newDevice(t)
		if err := other.LoadState(first); err != nil {
			t.Fatalf("loaded %s, saved %s, cannot load that: %v", state, first, err)
		}
		if second, err := other.SaveState(); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("saved %s, then %s, %v", first, second, err)
		}
	})
}
