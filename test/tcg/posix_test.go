//go:build tcg

package tcg

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"github.com/holtvm/holt/internal/vmtest"
)

// TestPosix runs go-fuse's conformance suite on a mapped directory, inside a
// guest.
func TestPosix(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	r := vmtest.Run(t, vmtest.GuestHalf(t, "posix", "-v", dir+":/data")...)
	t.Logf("in the guest:\n%s", r.Stdout)
	if r.Code != 0 {
		t.Fatalf("exit status %d: %s", r.Code, r.Stderr)
	}
	if n := strings.Count(r.Stdout, "--- PASS: TestPosixSuite/"); n != len(posixtest.All)-len(exceptions) {
		t.Errorf("%d of %d tests passed", n, len(posixtest.All)-len(exceptions))
	}
}

// exceptions are the suite's tests that no file system below a Linux kernel, or
// not the one below ours, passes; each with the rule that explains it.
var exceptions = map[string]string{
	"FcntlFlockLocksFile": "it expects a process to conflict with its own record lock, but locks of one process never conflict (fcntl(2), POSIX.1)",
	"XAttrLarge":          "it sets a value of 64 KiB, but on ext4 all values of a file must fit one block (xattr(7))",
}

// runPosixTests is the guest's half: this binary's TestPosixSuite.
func runPosixTests() error {
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run", "^TestPosixSuite$")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "HOLT_TEST_GUEST_HALF=") }), "HOLT_TEST_POSIX_DIR=/data")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	fmt.Print(out.String())
	return err
}

// TestPosixSuite is the guest's half of TestPosix, which counts its passes. On the
// host there is nothing to test: the suite wants a mount of its own.
func TestPosixSuite(t *testing.T) {
	base := os.Getenv("HOLT_TEST_POSIX_DIR")
	if base == "" {
		t.Skip("TestPosix runs this in the guest")
	}
	for name, test := range posixtest.All {
		t.Run(name, func(t *testing.T) {
			if why := exceptions[name]; why != "" {
				t.Skip(why)
			}
			dir := filepath.Join(base, name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			test(t, dir)
		})
	}
}
