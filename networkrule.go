package holt

import (
	"fmt"

	"github.com/holtvm/holt/internal/usernet/policy"
)

// NetworkRule allows or denies the guest some targets. Its text form is
// "allow TARGET" or "deny TARGET", where TARGET is "any", an address, a CIDR
// prefix, a host name or "*.domain", followed by ":port" or ":first-last" and by
// "/tcp" or "/udp", all but one of which may be left out. A Config's rules are
// looked at in their order; the first that matches decides, and if none does the
// NetworkMode. docs/networking.md has the whole meaning.
//
// The zero NetworkRule is "allow any".
type NetworkRule struct{ rule policy.Rule }

// ParseNetworkRule parses a rule's text form, such as
// "allow *.example.com:443/tcp" or "deny any".
func ParseNetworkRule(s string) (NetworkRule, error) {
	r, err := parseNetworkRule(s)
	if err != nil {
		return NetworkRule{}, fmt.Errorf("network rule %q: %w", s, err)
	}
	return r, nil
}

func parseNetworkRule(s string) (NetworkRule, error) {
	r, err := policy.ParseRule(s)
	return NetworkRule{r}, err
}

// String returns the text form, which parses to r again.
func (r NetworkRule) String() string { return r.rule.String() }

// MarshalText is String.
func (r NetworkRule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is ParseNetworkRule.
func (r *NetworkRule) UnmarshalText(text []byte) error {
	return unmarshalText(r, text, ParseNetworkRule)
}
