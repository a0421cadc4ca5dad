package hypervisor

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/kvmapi"
)

func openKVM(t *testing.T) *kvmapi.Device {
	t.Helper()
	dev, err := kvmapi.Open()
	if err != nil {
		t.Skipf("this host has no /dev/kvm to try: %v", err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

var stepOut = trialSteps[len(trialSteps)-1]

// A program that only does what every emulator can must succeed wherever
// /dev/kvm opens: it shows that the machine around the program is right.
func TestTrialRunsPlainCode(t *testing.T) {
	if err := trySteps(t.Context(), openKVM(t), []step{trialSteps[0], stepOut}); err != nil {
		t.Error(err)
	}
}

func TestTrialNamesTheStepThatFails(t *testing.T) {
	ud2 := step{name: "ud2", code: []byte{0x0F, 0x0B}} // no handler: a triple fault
	err := trySteps(t.Context(), openKVM(t), []step{trialSteps[0], ud2, stepOut})
	var stuck *stuckError
	if !errors.As(err, &stuck) || stuck.instruction != "ud2" {
		t.Errorf("error %v, want one at ud2", err)
	}
}

func TestTrialEndsInTime(t *testing.T) {
	loop := step{name: "loop", code: []byte{0xEB, 0xFE}} // jmp to itself
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := trySteps(ctx, openKVM(t), []step{loop, stepOut})
	if err == nil {
		t.Fatal("an endless program ended")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	t.Log(err)
}

func TestLayLeavesOutWhatTheCPULacks(t *testing.T) {
	code := func(f features) []byte {
		tr := trial{mem: make([]byte, trialMemory), steps: trialSteps}
		tr.lay(f)
		return tr.mem[addrCode : addrCode+0x100]
	}
	stac, xsave := []byte{0x0F, 0x01, 0xCB}, []byte{0x0F, 0xAE, 0x27}
	for _, f := range []features{{}, {xsave: true}, {smap: true}, {true, true}} {
		c := code(f)
		if bytes.Contains(c, stac) != f.smap || bytes.Contains(c, xsave) != f.xsave {
			t.Errorf("%+v: the program is % x", f, c)
		}
		if !bytes.Contains(c, stepOut.code) {
			t.Errorf("%+v: the program has no end", f)
		}
	}
}

func TestTrialFeatures(t *testing.T) {
	got := trialFeatures([]kvmapi.CPUIDEntry{{Function: 1, ECX: 1 << 26}, {Function: 7, Index: 1, EBX: 1 << 20}})
	if got != (features{xsave: true}) {
		t.Errorf("%+v, want xsave alone: smap is a bit of leaf 7, index 0", got)
	}
	got = trialFeatures([]kvmapi.CPUIDEntry{{Function: 7, EBX: 1 << 20}})
	if got != (features{smap: true}) {
		t.Errorf("%+v, want smap alone", got)
	}
}
