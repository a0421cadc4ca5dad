// Package agentproto is the wire protocol between the monitor on the host and
// the agent in the guest: header lines, frames and the messages they carry.
//
// It stands alone. It knows nothing of sockets, processes or devices, and both
// ends import it: internal/agent in the guest, internal/agentclient on the
// host. Neither end trusts the other, so every length is checked against a
// limit below before anything is allocated. docs/agent-protocol.md is the
// specification; its examples are this package's golden files.
package agentproto

// Version is the protocol version this package speaks. Both ends say theirs in
// the first message and neither speaks to another version.
const Version = 3

// Vsock addresses.
const (
	// HostCID is the context id of the host (virtio 1.2, 5.10.4).
	HostCID = 2
	// BootPort is the port on the host that the agent dials once, at boot.
	BootPort = 1024
	// ServicePort is the port in the guest on which the agent serves
	// operations, one connection each.
	ServicePort = 1025
)

// Limits, in bytes unless said otherwise. A message beyond one is a violation.
const (
	// HeaderSize is the size of a frame's header.
	HeaderSize = 8
	// MaxLine bounds a header line, its newline included.
	MaxLine = 64 << 10
	// MaxSpec bounds the payload of a TypeSpec frame.
	MaxSpec = 1 << 20
	// MaxPayload bounds the payload of a stream frame (stdin, stdout, stderr).
	MaxPayload = 64 << 10
	// MaxReport bounds the JSON payload of a started, exit or error frame.
	MaxReport = 8 << 10
	// MaxEntry bounds the JSON payload of an entry or report frame. The longest
	// path, all of it escaped, fits.
	MaxEntry = 64 << 10
	// MaxMessage bounds the text of an Error.
	MaxMessage = 4 << 10
	// StdinWindow is how much standard input the agent grants at first, and
	// the most that it ever holds for a program.
	StdinWindow = 256 << 10
	// MaxWindow is the most unused credit that a host accepts.
	MaxWindow = 1 << 20
	// MaxSignal is the highest signal number of Linux.
	MaxSignal = 64
)
