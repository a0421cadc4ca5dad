package holt

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
)

// LogLevel is how much Holt logs about a microVM. Each level includes the ones
// before it.
type LogLevel uint8

// The log levels, least first.
const (
	LogOff   LogLevel = iota // nothing; the default
	LogError                 // what ended or damaged the microVM
	LogWarn                  // what a user should look at
	LogInfo                  // lifecycle and choices made
	LogDebug                 // each step of Holt's own work
	LogTrace                 // each request of a device
)

var logLevelNames = []string{"off", "error", "warn", "info", "debug", "trace"}

// levelTrace is the slog level of LogTrace; slog itself has no name for it.
const levelTrace = slog.LevelDebug - 4

// ParseLogLevel parses one of off, error, warn, info, debug and trace.
func ParseLogLevel(s string) (LogLevel, error) {
	l, err := parseLogLevel(s)
	if err != nil {
		return LogOff, fmt.Errorf("log level %q: %w", s, err)
	}
	return l, nil
}

func parseLogLevel(s string) (LogLevel, error) {
	i := slices.Index(logLevelNames, s)
	if i < 0 {
		return LogOff, errLogLevel
	}
	return LogLevel(i), nil
}

var errLogLevel = errors.New("must be one of off, error, warn, info, debug, trace")

// String returns the name that ParseLogLevel accepts, or "LogLevel(n)" for a
// number that is no level.
func (l LogLevel) String() string {
	if int(l) >= len(logLevelNames) {
		return fmt.Sprintf("LogLevel(%d)", uint8(l))
	}
	return logLevelNames[l]
}

// MarshalText returns the level's name. It fails on a number that is no level.
func (l LogLevel) MarshalText() ([]byte, error) {
	if l > LogTrace {
		return nil, fmt.Errorf("%v: %w", l, errLogLevel)
	}
	return []byte(l.String()), nil
}

// UnmarshalText is ParseLogLevel.
func (l *LogLevel) UnmarshalText(text []byte) error { return unmarshalText(l, text, ParseLogLevel) }

// SlogLevel returns the lowest slog level that l lets through. Trace is four
// below slog.LevelDebug; off is above every level that anything logs at.
func (l LogLevel) SlogLevel() slog.Level {
	switch l {
	case LogError:
		return slog.LevelError
	case LogWarn:
		return slog.LevelWarn
	case LogInfo:
		return slog.LevelInfo
	case LogDebug:
		return slog.LevelDebug
	case LogTrace:
		return levelTrace
	default:
		return slog.Level(math.MaxInt)
	}
}
