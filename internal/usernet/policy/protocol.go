package policy

import "fmt"

// Protocol is what a guest uses to reach a target.
type Protocol uint8

// The protocols.
const (
	AnyProtocol Protocol = iota // of a rule: each of them; never of a packet
	TCP
	UDP
	ICMP // ICMP and ICMPv6
)

// String returns "any", "tcp", "udp" or "icmp", or "Protocol(n)" for another
// number.
func (p Protocol) String() string {
	switch p {
	case AnyProtocol:
		return "any"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ICMP:
		return "icmp"
	}
	return fmt.Sprintf("Protocol(%d)", uint8(p))
}
