package hypervisor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/holtvm/holt/internal/atomicfile"
)

// probeCache keeps one result of the probe, together with the boot that it is
// true for. A cache that cannot be read or written is no cache: the probe is
// cheap enough to be run again.
type probeCache struct {
	dir    string // "" for none
	bootID string // "" for this boot's
}

// cachedProbe is the file's content. A file of another format or boot does not
// match and is replaced.
type cachedProbe struct {
	Format int    `json:"format"`
	BootID string `json:"boot_id"`
	Probe  Probe  `json:"probe"`
}

// cacheFormat changes when the probe starts to look at something else.
const cacheFormat = 1

func (c probeCache) path() string { return filepath.Join(c.dir, "kvm-probe.json") }

func (c probeCache) boot() string {
	if c.bootID != "" {
		return c.bootID
	}
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

func (c probeCache) load() (Probe, bool) {
	boot := c.boot()
	if c.dir == "" || boot == "" {
		return Probe{}, false
	}
	b, err := os.ReadFile(c.path())
	if err != nil {
		return Probe{}, false
	}
	var f cachedProbe
	if json.Unmarshal(b, &f) != nil || f.Format != cacheFormat || f.BootID != boot {
		return Probe{}, false
	}
	f.Probe.Cached = true
	return f.Probe, true
}

// store keeps the two answers that stay true until the next boot. Others, such
// as a trial that took too long on a busy host, deserve another trial.
func (c probeCache) store(p Probe) {
	boot := c.boot()
	if c.dir == "" || boot == "" || p.Verdict != VerdictUsable && p.Verdict != VerdictEmulates {
		return
	}
	b, err := json.Marshal(cachedProbe{Format: cacheFormat, BootID: boot, Probe: p})
	if err != nil || os.MkdirAll(c.dir, 0o700) != nil {
		return
	}
	_ = atomicfile.WriteFile(c.path(), b, 0o600) // the next start probes again
}
