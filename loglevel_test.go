package holt

import (
	"bytes"
	"log/slog"
	"testing"
)

func TestLogLevel(t *testing.T) {
	const everything = slog.Level(-8)
	for _, test := range []struct {
		text   string
		level  LogLevel
		lowest slog.Level // that it lets through
		hidden slog.Level // that it does not
	}{
		{"error", LogError, slog.LevelError, slog.LevelWarn},
		{"warn", LogWarn, slog.LevelWarn, slog.LevelInfo},
		{"info", LogInfo, slog.LevelInfo, slog.LevelDebug},
		{"debug", LogDebug, slog.LevelDebug, everything},
		{"trace", LogTrace, everything, everything - 1},
	} {
		got, err := ParseLogLevel(test.text)
		if err != nil || got != test.level || got.String() != test.text {
			t.Errorf("ParseLogLevel(%q) = %v, %v", test.text, got, err)
		}
		if !logs(t, got, test.lowest) || logs(t, got, test.hidden) {
			t.Errorf("level %v shows %v: %v, %v: %v; want true, false",
				got, test.lowest, logs(t, got, test.lowest), test.hidden, logs(t, got, test.hidden))
		}
		marshalsBack(t, test.level, new(LogLevel))
	}
	off, err := ParseLogLevel("off")
	if err != nil || off != LogOff || off != DefaultConfig().LogLevel {
		t.Errorf("ParseLogLevel(off) = %v, %v; want the default", off, err)
	}
	if logs(t, off, slog.LevelError+1000) {
		t.Error("off logs")
	}
	marshalsBack(t, LogOff, new(LogLevel))
}

// logs reports whether a logger set to level l writes a record of level at.
func logs(t *testing.T, l LogLevel, at slog.Level) bool {
	t.Helper()
	var out bytes.Buffer
	handler := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: l.SlogLevel()})
	slog.New(handler).Log(t.Context(), at, "message")
	return out.Len() > 0
}

func TestLogLevelRefuses(t *testing.T) {
	for _, in := range []string{"", "DEBUG", "warning", "5", " info"} {
		refuses(t, "log level", in, "must be one of off, error, warn, info, debug, trace",
			func() error { _, err := ParseLogLevel(in); return err })
	}
	if text, err := LogLevel(6).MarshalText(); err == nil {
		t.Errorf("MarshalText of level 6 = %q, want an error", text)
	}
	if got := LogLevel(6).String(); got != "LogLevel(6)" {
		t.Errorf("level 6 is called %q", got)
	}
}
