package hypervisor

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

type fakeBackend struct {
	Backend
	name string
}

func (b fakeBackend) Name() string { return b.name }

func TestSelect(t *testing.T) {
	errNone := errors.New("no qemu")
	for _, c := range []struct {
		name    string
		asked   string
		verdict Verdict // of the probe
		qemuErr error
		wantErr string // "" for success
		want    string // backend, and for qemu whether with KVM
		warns   bool
	}{
		{name: "auto without kvm", asked: "auto", verdict: VerdictMissing, want: "qemu"},
		{name: "auto with a kvm that emulates", asked: "auto", verdict: VerdictEmulates, want: "qemu"},
		{name: "auto with kvm", asked: "auto", verdict: VerdictUsable, want: "kvm"},
		{name: "qemu with kvm", asked: "qemu", verdict: VerdictUsable, want: "qemu on kvm"},
		{name: "qemu without", asked: "qemu", verdict: VerdictForbidden, want: "qemu"},
		{name: "kvm", asked: "kvm", verdict: VerdictUsable, want: "kvm"},
		{name: "kvm that emulates", asked: "kvm", verdict: VerdictEmulates, want: "kvm", warns: true},
		{name: "kvm without a device", asked: "kvm", verdict: VerdictMissing, wantErr: "the reason; --backend qemu needs no KVM"},
		{name: "kvm of somebody else", asked: "kvm", verdict: VerdictForbidden, wantErr: "the reason"},
		{name: "unknown", asked: "xen", wantErr: `backend "xen" is unknown; it is one of auto, kvm, qemu`},
		{name: "empty", asked: "", wantErr: `backend "" is unknown`},
		{name: "no qemu", asked: "auto", verdict: VerdictMissing, qemuErr: errNone, wantErr: "no qemu"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			got := ""
			o := Options{
				KVM: func() (Backend, error) {
					got = "kvm"
					return fakeBackend{name: NameKVM}, nil
				},
				QEMU: func(useKVM bool) (Backend, error) {
					if got = "qemu"; useKVM {
						got = "qemu on kvm"
					}
					return fakeBackend{name: NameQEMU}, c.qemuErr
				},
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			}
			probe := func(context.Context, string) Probe {
				return Probe{Usable: c.verdict == VerdictUsable, Verdict: c.verdict, Detail: "the reason"}
			}
			b, err := choose(t.Context(), c.asked, o, probe)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Fatalf("error %v, want one with %q", err, c.wantErr)
				}
				if c.qemuErr == nil && got != "" {
					t.Error("a backend was made for a name that has none")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want || !strings.HasPrefix(got, b.Name()) {
				t.Errorf("backend %s (%s), want %s", b.Name(), got, c.want)
			}
			if n := strings.Count(log.String(), "level=INFO"); n != 1 || !strings.Contains(log.String(), `kvm="the reason"`) {
				t.Errorf("log is %q, want one info line with the reason", log.String())
			}
			if strings.Contains(log.String(), "level=WARN") != c.warns {
				t.Errorf("log is %q, warning wanted: %v", log.String(), c.warns)
			}
		})
	}
}
