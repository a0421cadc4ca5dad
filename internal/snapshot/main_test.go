package snapshot

import (
	"fmt"
	"os"
	"testing"
)

// TestMain makes this binary a process of a test's that is killed, or has no space.
func TestMain(m *testing.M) {
	for name, do := range map[string]func(dir string) error{crashIn: crash, smallDisk: importToSmallDisk} {
		dir := os.Getenv(name)
		if dir == "" {
			continue
		}
		if err := do(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
