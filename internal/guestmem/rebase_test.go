package guestmem

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// scribble writes to pages of b here and there, and clears some.
func scribble(r *rand.Rand, b []byte) {
	for range 1 + r.IntN(40) {
		at := r.IntN(len(b)/page) * page
		n := min(1+r.IntN(3*page), len(b)-at)
		if r.IntN(3) == 0 {
			clear(b[at:][:n])
			continue
		}
		for i := range b[at:][:n] {
			b[at+i] = byte(r.Uint32())
		}
	}
}

// TestChain: whatever is written, each capture is what the memory was at that time, and
// the memory goes on above it.
func TestChain(t *testing.T) {
	const low, size = 37 * page, 101 * page
	regions := []Region{{GuestAddr: page, Size: low}, {GuestAddr: 4 << 30, Size: size - low}}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		m, err := Map(regions)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		type capture struct {
			img   Image
			bytes []byte
		}
		var captures []capture
		contents := func(m *Memory) []byte { return append(bytes.Clone(m.maps[0].host), m.maps[1].host...) }
		for i := range 6 {
			scribble(r, m.maps[0].host)
			scribble(r, m.maps[1].host)
			if r.IntN(3) == 0 {
				at := r.IntN(30) * page
				if err := m.Discard(m.maps[0].host[at : at+5*page]); err != nil {
					t.Fatal(err)
				}
			}
			f := memfd(t, 0)
			img := &Image{Size: size, Layers: []Layer{{File: f}}}
			if i == 0 || r.IntN(4) == 0 {
				if _, err := m.WriteImage(t.Context(), f); err != nil {
					t.Fatal(err)
				}
			} else {
				runs, err := m.WriteChanges(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				img.Layers = append(append([]Layer(nil), m.Image().Layers...), Layer{f, runs})
			}
			captures = append(captures, capture{*img, contents(m)})
			if i == 0 || r.IntN(3) > 0 {
				if err := m.Rebase(img); err != nil {
					t.Fatal(err)
				}
				touched, err := m.Touched()
				expect(t, "rebased", touched, err)
			}
			if !bytes.Equal(contents(m), captures[i].bytes) {
				t.Fatalf("seed %d: the memory is another after capture %d", seed, i)
			}
		}
		scribble(r, m.maps[0].host)
		for i, c := range captures {
			if got := contents(mapImage(t, &c.img, regions...)); !bytes.Equal(got, c.bytes) {
				t.Fatalf("seed %d: capture %d is not what the memory was", seed, i)
			}
		}
	}
}

// TestRebase: addresses stay, readers see nothing of it, and the memory of this process is
// given back.
func TestRebase(t *testing.T) {
	const pages = 3 * maxPieces // many pieces: some are copied
	m := mapImage(t, &Image{pages * page, []Layer{{File: memfd(t, pages*page)}}})
	b := all(t, m)
	for i := 0; i < pages; i += 2 {
		b[i*page] = byte(i/2)%255 + 1
	}
	f := memfd(t, 0)
	runs, err := m.WriteChanges(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	img := &Image{pages * page, append(append([]Layer(nil), m.Image().Layers...), Layer{f, runs})}
	var reader sync.WaitGroup
	stop := make(chan struct{})
	reader.Go(func() {
		for {
			for i := 0; i < pages; i += 2 {
				if got, want := b[i*page], byte(i/2)%255+1; got != want {
					t.Errorf("page %d was %d for a time", i, got)
					return
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for range 5 {
		if err := m.Rebase(img); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	reader.Wait()
	if again := all(t, m); &again[0] != &b[0] || m.Image() != img {
		t.Error("the memory is elsewhere, or of another image")
	}
	touched, err := m.Touched()
	if err != nil || len(touched) != len(runs)-maxPieces {
		t.Errorf("%d pages are left to this process, %v; %d have changed", len(touched), err, len(runs))
	}
	b[page] = 9
	got := make([]byte, 1)
	if _, err := f.ReadAt(got, page); err != nil || got[0] != 0 {
		t.Errorf("a write went to the image: %v", err)
	}
}

// TestRebaseRefused: nothing has changed then, and nothing stays mapped.
func TestRebaseRefused(t *testing.T) {
	m, err := Map([]Region{{Size: 4 * page}, {GuestAddr: 4 << 30, Size: 4 * page}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	copy(m.maps[0].host, "otter")
	whole, small := memfd(t, 8*page), memfd(t, 4*page)
	blind, err := os.OpenFile(filled(t, 8, 0).Name(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer blind.Close()
	for name, img := range map[string]*Image{
		"small file":  {8 * page, []Layer{{File: small}}},
		"small image": {4 * page, []Layer{{File: whole}}},
		"large image": {16 * page, []Layer{{File: memfd(t, 16*page)}}},
		"unreadable":  {8 * page, []Layer{{File: whole}, {blind, []Run{{6, 1}}}}},
	} {
		if err := m.Rebase(img); err == nil || errors.Is(err, ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
		if string(m.maps[0].host[:5]) != "otter" || m.Image() != nil {
			t.Errorf("%s: the memory has changed", name)
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(whole.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(maps), fmt.Sprintf(" %d ", st.Ino)) {
		t.Error("a file is still mapped")
	}
}

// TestRebaseFailsHalfWay: the caller hears that the memory is good for nothing.
func TestRebaseFailsHalfWay(t *testing.T) {
	m, err := Map([]Region{{Size: page}, {GuestAddr: 4 << 30, Size: page}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	// What is sealed cannot be replaced; this page stays mapped until the test ends.
	if err := unix.Mseal(m.maps[1].host, 0); err != nil {
		t.Skipf("cannot seal memory: %v", err)
	}
	if err := m.Rebase(&Image{2 * page, []Layer{{File: memfd(t, 2*page)}}}); !errors.Is(err, ErrLost) {
		t.Errorf("Rebase: %v", err)
	}
}
