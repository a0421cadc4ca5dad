package hypervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever this host has, the answer must be whole and must not change when it
// is asked for again.
func TestProbeKVMHere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "made", "yet")
	p := ProbeKVM(t.Context(), dir)
	t.Logf("%+v", p)
	if p.Usable != (p.Verdict == VerdictUsable) || p.Detail == "" {
		t.Errorf("the result contradicts itself: %+v", p)
	}
	if p.Cached {
		t.Error("the first result claims to be cached")
	}
	again := ProbeKVM(t.Context(), dir)
	if want := p.Verdict == VerdictUsable || p.Verdict == VerdictEmulates; again.Cached != want {
		t.Errorf("second result: cached is %v, want %v", again.Cached, want)
	}
	again.Cached = false
	if p.Verdict != VerdictError && again != p {
		t.Errorf("second result %+v, first %+v", again, p)
	}
}

func TestOpenFailed(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Verdict
		text string
	}{
		{&os.PathError{Op: "open", Path: "/dev/kvm", Err: fs.ErrNotExist}, VerdictMissing, "does not exist"},
		{&os.PathError{Op: "open", Path: "/dev/kvm", Err: fs.ErrPermission}, VerdictForbidden, "may not be opened"},
		{errors.New("odd"), VerdictError, "odd"},
	} {
		p := openFailed(c.err)
		if p.Verdict != c.want || p.Usable || !strings.Contains(p.Detail, c.text) {
			t.Errorf("%v: %+v, want %s with %q", c.err, p, c.want, c.text)
		}
	}
}

func TestAccessHint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if h := accessHint(path); !strings.Contains(h, "chmod 660 "+path) {
		t.Errorf("a device for its owner only: %q does not say how to open it", h)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		t.Fatal(err)
	}
	if h := accessHint(path); !strings.Contains(h, "usermod -aG") {
		t.Errorf("a device for its group: %q does not say how to join it", h)
	}
}

func TestJudge(t *testing.T) {
	stuck := &stuckError{"popcnt", "KVM internal error 1"}
	for _, c := range []struct {
		err   error
		want  Verdict
		where string
	}{
		{nil, VerdictUsable, ""},
		{fmt.Errorf("trial: %w", stuck), VerdictEmulates, "popcnt"},
		{errUnsupported, VerdictUnsupported, ""},
		{context.DeadlineExceeded, VerdictError, ""},
	} {
		p := judge(c.err)
		if p.Verdict != c.want || p.Usable != (c.err == nil) || p.Instruction != c.where {
			t.Errorf("%v: %+v, want %s at %q", c.err, p, c.want, c.where)
		}
	}
}
