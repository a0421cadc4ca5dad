//go:build kvm

package kvm

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/paths"
)

func dirs(t *testing.T) paths.Dirs {
	t.Helper()
	d, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// baseRoot is the small root directory that `holt setup` made.
func baseRoot(t *testing.T) string { return filepath.Join(dirs(t).Data, "roots", "base") }

// The two kernels that a machine must boot: the distribution's and our own.
const (
	debianKernel = "debian"
	ownKernel    = "own"
)

// kernelName finds a kernel of the store, the newest of its kind.
func kernelName(t *testing.T, kind string) string {
	t.Helper()
	all, err := kernel.Open(dirs(t)).List()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		if own := strings.Contains(k.Name, "holt"); own == (kind == ownKernel) {
			return k.Name
		}
	}
	t.Skipf("the store has no kernel of this kind (%s): run `holt kernel build` for ours, `holt kernel fetch` for Debian's", kind)
	return ""
}

// eachKernel runs f for both kernels.
func eachKernel(t *testing.T, f func(t *testing.T, name string)) {
	for _, kind := range []string{ownKernel, debianKernel} {
		t.Run(kind, func(t *testing.T) { f(t, kernelName(t, kind)) })
	}
}
