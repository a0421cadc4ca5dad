package vmtest

import (
	"strings"
	"testing"
)

// TestSumUnique: only what a process has alone counts, each as the kind that it is.
func TestSumUnique(t *testing.T) {
	const table = `55d0c0000000-55d0c0400000 r-xp 00000000 08:01 12 /usr/local/bin/holt
Size:               4096 kB
Rss:                2048 kB
Private_Clean:       512 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
7f0000000000-7f0010000000 rw-p 00000000 00:01 7 /memfd:guest-memory (deleted)
Size:             262144 kB
Private_Clean:      9999 kB
Private_Dirty:       768 kB
Anonymous:           512 kB
c000000000-c000400000 rw-p 00000000 00:00 0
Size:               4096 kB
Private_Dirty:      1024 kB
Private_Hugetlb:    2048 kB
Anonymous:          1024 kB
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]
Private_Dirty:       256 kB
`
	want := Unique{Guest: 512 << 10, Monitor: 1280 << 10, Program: 512 << 10}
	if got, err := sumUnique(strings.NewReader(table)); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for what, text := range map[string]string{
		"no mapping":   "",
		"a bad number": "c000000000-c000400000 rw-p 00000000 00:00 0\nPrivate_Dirty: many kB\n",
	} {
		if got, err := sumUnique(strings.NewReader(text)); err == nil {
			t.Errorf("a table with %s has %+v", what, got)
		}
	}
}
