package cpioroot

import (
	"math"
	"strings"
	"testing"
)

func TestMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		used  usage
		want  int64 // MiB, of which 1/64 describe pages
		limit string
	}{
		"nothing":     {usage{}, 64, ""},
		"one file":    {usage{archive: 100 * mib, pages: pages(100 * mib), inodes: 1}, 64 + 300, ""},
		"small files": {usage{archive: 10 * mib, pages: 1000, inodes: 25600}, 64 + 10 + 200, ""},
		"hard links":  {usage{links: 12800}, 64 + 100, ""},
		"all entries": {usage{inodes: maxEntries}, 64 + 8192, ""},
		"one more":    {usage{inodes: maxEntries + 1}, 64 + 8192, "1048576 entries"},
		"many links":  {usage{links: maxLinks + 1}, 64 + 512, "65536 files with several hard links"},
		"large":       {usage{archive: maxArchive + 1}, 64 + 1920, "1920 MiB, which no kernel takes"},
	} {
		needs := tt.used.memory()
		if got, want := float64(needs)/mib, float64(tt.want)*64/63; math.Abs(got-want) > 0.01 {
			t.Errorf("%s: %f MiB, want %f", name, got, want)
		}
		if err := tt.used.check(16 << 30); tt.limit == "" && err != nil || tt.limit != "" && (err == nil || !strings.Contains(err.Error(), tt.limit)) {
			t.Errorf("%s: got %v, want %q", name, err, tt.limit)
		}
		if tt.limit == "" && (tt.used.check(uint64(needs)) != nil || tt.used.check(uint64(needs)-1) == nil) {
			t.Errorf("%s: %d bytes are enough: %v, and one less: %v", name, needs, tt.used.check(uint64(needs)), tt.used.check(uint64(needs)-1))
		}
	}
}
