package holt

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// EnvPair is one environment variable. Its text form is "KEY=VALUE".
type EnvPair struct {
	// Key matches [A-Za-z_][A-Za-z0-9_]*.
	Key string
	// Value is any bytes but NUL. Nothing in it is special: quotes, spaces
	// and dollar signs are literal.
	Value string
}

var (
	errNUL     = errors.New("must not contain a NUL byte")
	errNotUTF8 = errors.New("must be valid UTF-8 to be written as text; JSON would replace the other bytes")
)

// ParseEnvPair parses "KEY=VALUE". The value starts after the first '=' and may
// be empty. A key without '=' is refused: Holt does not pass on the host's
// environment.
func ParseEnvPair(s string) (EnvPair, error) {
	e, err := parseEnvPair(s)
	if err != nil {
		return EnvPair{}, fmt.Errorf("env pair %q: %w", s, err)
	}
	return e, nil
}

func parseEnvPair(s string) (EnvPair, error) {
	key, value, found := strings.Cut(s, "=")
	if !found {
		return EnvPair{}, errors.New("must be KEY=VALUE; the host's environment is not passed on")
	}
	e := EnvPair{Key: key, Value: value}
	if err := e.check(); err != nil {
		return EnvPair{}, err
	}
	return e, nil
}

func (e EnvPair) check() error {
	if !isEnvKey(e.Key) {
		return fmt.Errorf("key %q must match [A-Za-z_][A-Za-z0-9_]*", e.Key)
	}
	if strings.ContainsRune(e.Value, 0) {
		return errNUL
	}
	return nil
}

func isEnvKey(s string) bool {
	for i := range len(s) {
		letter := s[i] == '_' || 'a' <= s[i]|0x20 && s[i]|0x20 <= 'z'
		digit := '0' <= s[i] && s[i] <= '9'
		if !letter && (i == 0 || !digit) {
			return false
		}
	}
	return s != ""
}

// String returns "KEY=VALUE", which parses to e again.
func (e EnvPair) String() string { return e.Key + "=" + e.Value }

// MarshalText is String. It fails on a pair that would not parse again, and on
// a value that is not UTF-8: encoding/json would silently put U+FFFD in place
// of its bytes.
func (e EnvPair) MarshalText() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("env pair %q: %w", e.String(), err)
	}
	if !utf8.ValidString(e.Value) {
		return nil, fmt.Errorf("env pair %q: %w", e.String(), errNotUTF8)
	}
	return []byte(e.String()), nil
}

// UnmarshalText is ParseEnvPair.
func (e *EnvPair) UnmarshalText(text []byte) error { return unmarshalText(e, text, ParseEnvPair) }
