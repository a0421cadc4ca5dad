package policy

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of a domain name in its text form, in bytes (RFC 1035, 2.3.4).
const (
	maxName  = 253
	maxLabel = 63
)

var errDomain = errors.New("a domain is labels of letters, digits, - and _, each of 1 to 63 bytes and not with - at an end, at most 253 bytes in all; other scripts are written in their xn-- form")

// parseDomain returns name in lower case and without the dot at the end.
func parseDomain(name string) (string, error) {
	name = canonical(name)
	if len(name) > maxName {
		return "", errDomain
	}
	label := ""
	for label = range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return "", fmt.Errorf("label %q: %w", label, errDomain)
		}
	}
	// No top-level domain is a number, so that such a name is an address with a
	// mistake in it (RFC 3696, 2).
	if strings.Trim(label, "0123456789") == "" {
		return "", errors.New("is neither an address nor a domain")
	}
	return name, nil
}

func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// canonical returns the name as rules are written: in lower case, ASCII letters
// only as in DNS (RFC 4343), and without the dot at the end.
func canonical(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.TrimSuffix(name, "."))
}

// names reports whether name, which is canonical, is a target of r.
func (r *Rule) names(name string) bool {
	if r.domain == "" {
		return false
	}
	if !r.below {
		return name == r.domain
	}
	label, found := strings.CutSuffix(name, r.domain)
	// A dot that is escaped separates nothing, see resolvable.
	return found && len(label) > 1 && strings.HasSuffix(label, ".")
}

// resolvable reports whether name, which is canonical, has a form that rules can
// be applied to. Escapes would let a dot look like the end of a label.
func resolvable(name string) bool {
	return len(name) <= maxName && !strings.Contains(name, `\`)
}
