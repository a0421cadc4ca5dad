// Package names is the form of the names and ids that VMs, snapshots and pools have, and
// how one is found by either.
package names

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// Every monitor carries this package, so there are no regular expressions here: two of
// them took 130 KiB of each monitor.
const (
	letters   = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits    = "0123456789"
	hexDigits = digits + "abcdef"
)

// shortest is the fewest digits of an id that may stand for it.
const shortest = 4

// Check says what is wrong with a name for a thing of some kind, such as "VM".
func Check(kind, name string) error {
	switch {
	case !IsName(name):
		return fmt.Errorf("%s name %.80q: must be 1 to 63 letters, digits, '_', '.' or '-', and begin with a letter or digit", kind, name)
	case IsID(name):
		return fmt.Errorf("%s name %q: looks like an id (12 hexadecimal digits)", kind, name)
	}
	return nil
}

// IsName reports whether a text has the form of a name, which ids have as well.
func IsName(text string) bool {
	return len(text) > 0 && len(text) <= 63 && strings.Trim(text[:1], letters+digits) == "" && strings.Trim(text, letters+digits+"_.-") == ""
}

// IsID reports whether a text has the form of an id.
func IsID(text string) bool { return len(text) == 12 && strings.Trim(text, hexDigits) == "" }

// NewID returns a new id, 12 hexadecimal digits.
func NewID() string {
	var id [6]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// Match returns the one of all that has a name or, if there is none, all whose ids begin
// with it, which takes 4 digits or more. called gives the id and the name of one.
func Match[T any](all []T, name string, called func(T) (id, name string)) []T {
	var found []T
	for _, one := range all {
		id, own := called(one)
		if own == name {
			return []T{one}
		}
		if len(name) >= shortest && strings.HasPrefix(id, name) {
			found = append(found, one)
		}
	}
	return found
}
