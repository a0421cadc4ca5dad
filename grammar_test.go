package holt

import (
	"encoding"
	"testing"
)

// marshalsBack checks that value's text reads back as value.
func marshalsBack[T interface {
	comparable
	encoding.TextMarshaler
	String() string
}, P interface {
	*T
	encoding.TextUnmarshaler
}](t *testing.T, value T, into P) {
	t.Helper()
	text, err := value.MarshalText()
	if err != nil {
		t.Errorf("MarshalText of %+v: %v", value, err)
		return
	}
	if string(text) != value.String() {
		t.Errorf("MarshalText = %q, String = %q", text, value.String())
	}
	if err := into.UnmarshalText(text); err != nil || *into != value {
		t.Errorf("%q reads back as %+v, %v; want %+v", text, *into, err, value)
	}
	before := *into
	if err := into.UnmarshalText([]byte("::::")); err == nil || *into != before {
		t.Errorf("UnmarshalText of garbage gave %+v, %v; want an error and no change", *into, err)
	}
}
