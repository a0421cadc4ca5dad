//go:build tcg

package tcg

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/vmtest"
)

// TestNested: /dev/kvm is there when it was asked for, and only then; a CPU that
// cannot run guests is an error that says so.
func TestNested(t *testing.T) {
	t.Parallel()
	vmtest.Run(t, "run", "--nested", "--", "stat", "-c", "%a %t:%T", "/dev/kvm").Want(t, 0, "600 a:e8\n")
	vmtest.Run(t, "run", "--", "test", "-e", "/dev/kvm").Want(t, 1, "")

	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "qemu")
	script := "#!/bin/sh\nfor a do\n\tshift\n\tcase $a in max*|host) a=$a,svm=off,vmx=off ;; esac\n\tset -- \"$@\" \"$a\"\ndone\nexec " + qemu + " \"$@\"\n"
	if err := os.WriteFile(plain, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	r := vmtest.Command{Args: []string{"run", "--backend", "qemu", "--nested", "--", "echo", "up"}, Env: []string{"HOLT_QEMU=" + plain}}.Run(t)
	r.Want(t, 125, "")
	if !strings.Contains(r.Stderr, "no SVM or VMX") {
		t.Errorf("the error does not say what is missing:\n%s", r.Stderr)
	}
	vmtest.NothingLeft(t)
}
