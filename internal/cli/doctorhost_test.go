package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/state"
)

func TestDoctorCountsVMs(t *testing.T) {
	home := t.TempDir()
	dirs := paths.Dirs{Data: filepath.Join(home, "data"), Runtime: filepath.Join(home, "run")}
	if err := dirs.MakeRuntime(); err != nil {
		t.Fatal(err)
	}
	if f := checkVMs(dirs); f.Status != statusOK || f.Found != "0 running, 0 stopped" {
		t.Errorf("of no VM: %+v", f)
	}
	var left *state.Dir // of a VM that is not kept, whose monitor dies
	for _, r := range []state.Record{{}, {}, {Kept: true}, {Kept: true}, {Kept: true}} {
		d, err := state.Open(dirs).Create(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if r.Kept {
			d.Unlock()
		} else {
			left = d
			defer d.Unlock()
		}
	}
	if f := checkVMs(dirs); f.Status != statusOK || f.Found != "2 running, 3 stopped" {
		t.Errorf("of five VMs: %+v", f)
	}
	left.Unlock()
	if f := checkVMs(dirs); f.Status != statusNote || f.Found != "1 running, 3 stopped, 1 left over" || !strings.Contains(f.Do, "holt prune") {
		t.Errorf("of five VMs, one of them dead: %+v", f)
	}
}

func TestDoctorLooksAtTheHost(t *testing.T) {
	dirs := paths.Dirs{Data: filepath.Join(t.TempDir(), "not", "there", "yet")}
	if f := checkData(dirs); !strings.HasPrefix(f.Found, dirs.Data) || !strings.Contains(f.Found, "MiB free") {
		t.Errorf("data: %+v", f)
	}
	switch f := checkLimits(); {
	case f.Status == statusOK && strings.Contains(f.Found, "cpu"):
	case f.Status == statusNote && f.Do != "":
	default:
		t.Errorf("limits: %+v", f)
	}
	if got := checkClock(hypervisor.Probe{}); got != nil {
		t.Errorf("without KVM the clock is %+v", got)
	}
}
