package agentproto

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Name is a path or a part of one in the guest: any bytes but NUL. In JSON it is a
// string, or, when it is not UTF-8, an object {"base64": "…"}.
type Name string

type rawName struct {
	Base64 string `json:"base64"`
}

// MarshalJSON implements json.Marshaler.
func (n Name) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(n)) {
		return json.Marshal(string(n))
	}
	return json.Marshal(rawName{base64.StdEncoding.EncodeToString([]byte(n))})
}

// UnmarshalJSON implements json.Unmarshaler. A name with a NUL is an error.
func (n *Name) UnmarshalJSON(b []byte) error {
	var s string
	if len(b) > 0 && b[0] == '{' {
		var raw rawName
		if err := json.Unmarshal(b, &raw); err != nil {
			return err
		}
		decoded, err := base64.StdEncoding.DecodeString(raw.Base64)
		if err != nil {
			return fmt.Errorf("name: %w", err)
		}
		s = string(decoded)
	} else if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("name %.80q: has a NUL", s)
	}
	*n = Name(s)
	return nil
}
