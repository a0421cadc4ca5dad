package hypervisor

import (
	"os"
	"testing"
)

func TestProbeCache(t *testing.T) {
	emulates := Probe{Verdict: VerdictEmulates, Detail: "why", Instruction: "popcnt"}
	for _, c := range []struct {
		name   string
		stored Probe
		boot   string // of the reader; the writer's is "one"
		spoil  func(path string) error
		want   bool
	}{
		{name: "same boot", stored: emulates, boot: "one", want: true},
		{name: "usable", stored: Probe{Usable: true, Verdict: VerdictUsable}, boot: "one", want: true},
		{name: "another boot", stored: emulates, boot: "two"},
		{name: "an error is not kept", stored: Probe{Verdict: VerdictError}, boot: "one"},
		{name: "a missing device is not kept", stored: Probe{Verdict: VerdictMissing}, boot: "one"},
		{name: "not json", stored: emulates, boot: "one", spoil: func(p string) error { return os.WriteFile(p, []byte("{"), 0o600) }},
		{name: "another format", stored: emulates, boot: "one", spoil: func(p string) error {
			return os.WriteFile(p, []byte(`{"format":0,"boot_id":"one","probe":{"usable":true}}`), 0o600)
		}},
		{name: "gone", stored: emulates, boot: "one", spoil: os.Remove},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			w := probeCache{dir: dir, bootID: "one"}
			w.store(c.stored)
			if c.spoil != nil {
				if err := c.spoil(w.path()); err != nil {
					t.Fatal(err)
				}
			}
			got, ok := probeCache{dir: dir, bootID: c.boot}.load()
			if ok != c.want {
				t.Fatalf("load: %v, want %v", ok, c.want)
			}
			if !ok {
				return
			}
			if !got.Cached {
				t.Error("a loaded result does not say that it is cached")
			}
			got.Cached = false
			if got != c.stored {
				t.Errorf("got %+v, stored %+v", got, c.stored)
			}
		})
	}
}

func TestProbeCacheWithoutDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	c := probeCache{bootID: "one"}
	c.store(Probe{Usable: true, Verdict: VerdictUsable})
	if _, ok := c.load(); ok {
		t.Error("a cache without a directory remembers")
	}
	if left, _ := os.ReadDir("."); len(left) != 0 {
		t.Errorf("it wrote %v", left)
	}
}
