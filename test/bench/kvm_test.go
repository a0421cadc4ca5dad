package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCountExits(t *testing.T) {
	const trace = `# tracer: nop
#
# entries-in-buffer/entries-written: 6/6   #P:1
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
            holt-181     [000] ..... 1.5: kvm_exit: vcpu 0 reason npf rip 0x1000123 info1 0x6 info2 0x1 intr_info 0x0 error_code 0x0
            holt-181     [000] ..... 1.6: kvm_exit: vcpu 0 reason npf rip 0x1000129 info1 0x6 info2 0x1 intr_info 0x0 error_code 0x0
 qemu: kvm_exi-182     [000] ..... 1.7: kvm_exit: vcpu 0 reason EXTERNAL_INTERRUPT rip 0x1000129 info1 0x6
            holt-181     [000] ..... 1.8: kvm_userspace_exit: reason KVM_EXIT_IO (2)
            holt-181     [000] ..... 1.9: kvm_userspace_exit: reason restart (4)
            holt-181     [000] ..... 2.0: kvm_entry: vcpu 0, rip 0x1000129
`
	got, err := countExits(strings.NewReader(trace))
	want := figures{exitsInAll: 3, "npf": 2, "external_interrupt": 1, exitsToUser: 2, "to user io": 1, "to user restart": 1}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for what, text := range map[string]string{
		"lost events": strings.Replace(trace, "6/6", "6/9", 1),
		"no exit":     "# tracer: nop\n",
	} {
		if got, err := countExits(strings.NewReader(text)); err == nil {
			t.Errorf("a trace with %s counts %v", what, got)
		}
	}
}

func TestReadRounds(t *testing.T) {
	lines := 0
	rounds, err := readRounds(strings.NewReader("\n{\"a\":{\"time\":1.5}}\n\n{\"a\":{\"time\":2}}\n"), func() { lines++ })
	if err != nil || lines != 4 || !slices.Equal(rounds.series("a", "time"), []float64{1.5, 2}) {
		t.Errorf("got %v, %v, %d lines", rounds, err, lines)
	}
	rounds, err = readRounds(strings.NewReader("{\"a\":{\"time\":1}}\nnonsense\n"), func() {})
	if err == nil || len(rounds) != 1 {
		t.Errorf("got %v, %v; want a round and an error", rounds, err)
	}
}

func TestKinds(t *testing.T) {
	rounds := roundList{
		{"a": {exitsInAll: 9, exitsToUser: 3, "io": 3, "npf": 16}, "b": {"io": 20, "msr": 20}},
		{"a": {exitsInAll: 9, "io": 3, "npf": 16, "hlt": 9}, "b": {"io": 20, "msr": 20}},
		{"a": {exitsInAll: 9, "io": 3, "npf": 16}, "b": {"io": 20, "msr": 20}},
	}
	if got, want := rounds.kinds("a", "b"), []string{"io", "msr", "npf"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if r := rounds.compare("n", "exits", noGoal, "a", "b", "npf"); r.Ours != 16 || r.Peer != 0 || r.Ratio != 0 {
		t.Errorf("a kind that the peer has none of: %+v", r)
	}
}

func TestAwaitBuilt(t *testing.T) {
	const log = `time=2026-01-02T03:04:05.678Z level=INFO msg="backend chosen" asked=kvm kvm="/dev/kvm works"
time=2026-01-02T03:04:05.679Z level=DEBUG msg="the machine is built" vm=228µs load=2.5ms vcpus=0s
time=2026-01-02T03:04:05.680Z level=DEBUG msg="the machine ended" reason=killed after=7s
`
	took, steps, err := awaitBuilt(strings.NewReader(log), time.Now().Add(-time.Minute))
	if err != nil || took < time.Minute || took > 2*time.Minute {
		t.Fatalf("got %v, %v", took, err)
	}
	want := []step{{"process", took - 2728*time.Microsecond}, {"vm", 228 * time.Microsecond}, {"load", 2500 * time.Microsecond}, {"vcpus", 0}}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %v, want %v", steps, want)
	}
	if _, _, err := awaitBuilt(strings.NewReader("holt: no kernel\n"), time.Now()); err == nil || !strings.Contains(err.Error(), "no kernel") {
		t.Errorf("a start that fails gives %v", err)
	}
}
