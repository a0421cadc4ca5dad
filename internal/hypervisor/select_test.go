package hypervisor

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

type fakeBackend struct{ Backend }

func (fakeBackend) Name() string { return NameQEMU }

func TestSelect(t *testing.T) {
	errNone := errors.New("no qemu")
	for _, c := range []struct {
		name    string
		asked   string
		usable  bool
		qemuErr error
		wantErr string // "" for success
		wantKVM bool
	}{
		{name: "auto without kvm", asked: "auto"},
		{name: "auto with kvm", asked: "auto", usable: true, wantKVM: true},
		{name: "qemu with kvm", asked: "qemu", usable: true, wantKVM: true},
		{name: "kvm", asked: "kvm", usable: true, wantErr: "use --backend qemu"},
		{name: "unknown", asked: "xen", wantErr: `backend "xen" is unknown; it is one of auto, kvm, qemu`},
		{name: "empty", asked: "", wantErr: `backend "" is unknown`},
		{name: "no qemu", asked: "auto", qemuErr: errNone, wantErr: "no qemu"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			gotKVM, made := false, false
			o := Options{
				QEMU: func(useKVM bool) (Backend, error) {
					gotKVM, made = useKVM, true
					if c.qemuErr != nil {
						return nil, c.qemuErr
					}
					return fakeBackend{}, nil
				},
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			}
			probe := func(context.Context, string) Probe { return Probe{Usable: c.usable, Detail: "the reason"} }
			b, err := choose(t.Context(), c.asked, o, probe)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Fatalf("error %v, want one with %q", err, c.wantErr)
				}
				if c.qemuErr == nil && made {
					t.Error("a backend was made for a name that has none")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if b.Name() != NameQEMU || gotKVM != c.wantKVM {
				t.Errorf("backend %s with kvm %v, want qemu with %v", b.Name(), gotKVM, c.wantKVM)
			}
			if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), `kvm="the reason"`) || !strings.Contains(log.String(), "level=INFO") {
				t.Errorf("log is %q, want one info line with the reason", log.String())
			}
		})
	}
}
