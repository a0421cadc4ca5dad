package qemu

import (
	"errors"
	"strings"
	"testing"
)

const (
	greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}` + "\r\n"
	returned = `{"return": {}}` + "\r\n"
)

func TestGreet(t *testing.T) {
	newer := strings.Replace(strings.Replace(greeting, "7", "10", 1), `"minor": 2`, `"minor": 0`, 1)
	for _, c := range []struct {
		name    string
		in      string
		version string
		wantErr string
	}{
		{"7.2", greeting + returned, "7.2.22", ""},
		{"10.0", newer + returned, "10.0.22", ""},
		{"7.1", strings.Replace(greeting, `"minor": 2`, `"minor": 1`, 1) + returned, "", "too old"},
		{"6.9", strings.Replace(strings.Replace(greeting, `"minor": 2`, `"minor": 9`, 1), "7", "6", 1), "", "too old"},
		{"no greeting", returned, "", "not a greeting"},
		{"refused", greeting + `{"error": {"class": "CommandNotFound", "desc": "no"}}` + "\n", "", "command mode"},
		{"ends", greeting, "", "EOF"},
		{"too long", `{"QMP": "` + strings.Repeat("x", maxMessage), "", "too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := newQMP(script{Reader: strings.NewReader(c.in)}).greet(t.Context())
			if (err == nil) != (c.wantErr == "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Fatalf("error %v, want one with %q", err, c.wantErr)
			}
			if err == nil && v != c.version {
				t.Errorf("version %s, want %s", v, c.version)
			}
			if strings.Contains(c.wantErr, "old") && !errors.Is(err, ErrTooOld) {
				t.Errorf("%v is not ErrTooOld", err)
			}
		})
	}
}

func TestShutdownReason(t *testing.T) {
	event := func(name, reason string) string {
		return `{"timestamp": {}, "event": "` + name + `", "data": {"guest": true, "reason": "` + reason + `"}}` + "\n"
	}
	for _, c := range []struct {
		name, in, want string
		fails          bool
	}{
		{"power off", event("NIC_RX_FILTER_CHANGED", "no") + event("SHUTDOWN", "guest-shutdown"), "guest-shutdown", false},
		{"the first counts", event("SHUTDOWN", "guest-reset") + event("SHUTDOWN", "host-qmp-quit"), "guest-reset", false},
		{"none", event("STOP", "x"), "", false},
		{"kept when the rest is broken", event("SHUTDOWN", "guest-shutdown") + "{", "guest-shutdown", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := newQMP(script{Reader: strings.NewReader(c.in)}).shutdownReason()
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("%q and error %v, want %q", got, err, c.want)
			}
		})
	}
}
