package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// guestHalf names the function that a test binary runs when it is inside a
// guest.
const guestHalf = "HOLT_TEST_GUEST_HALF"

// Main is TestMain's body for packages whose tests have a half in the guest.
// The test binary is shared into the guest and started there with the half's
// name; so both halves stand beside each other in one file.
func Main(m *testing.M, halves map[string]func() error) {
	name := os.Getenv(guestHalf)
	if name == "" {
		os.Exit(m.Run())
	}
	half, ok := halves[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no guest half %q\n", name)
		os.Exit(2)
	}
	if err := half(); err != nil {
		fmt.Fprintf(os.Stderr, "%s, in the guest: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// GuestHalf returns the arguments of `holt run` that run a half of this test
// binary, after flags.
func GuestHalf(t testing.TB, name string, flags ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"run", "-v", filepath.Dir(self) + ":/holt-test:ro", "-e", guestHalf + "=" + name}, flags...)
	return append(args, "--", "/holt-test/"+filepath.Base(self))
}
