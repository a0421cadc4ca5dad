package vsock

import "time"

// limits bound what a guest can make the device hold.
type limits struct {
	buffer  int           // receive buffer of a connection, bytes
	budget  int           // of all receive buffers, beyond minBuffer for each, bytes
	conns   int           // connections, both directions together
	backlog int           // connections of one listener that nobody accepted yet
	linger  time.Duration // how long a closed connection waits for the guest's RST
	// How long a Dial waits for the driver of a guest that goes on elsewhere.
	patience time.Duration
}

// Linux uses the same buffer size and the same linger time for its side.
var defaults = limits{buffer: 256 << 10, budget: 32 << 20, conns: 1024, backlog: 128, linger: 8 * time.Second, patience: 2 * time.Second}

// maxReplies is how many packets for the guest may wait for receive buffers
// before the guest's own packets are left in the ring (virtio 1.2, 5.10.6.1).
const maxReplies = 256

// An Option changes one limit of a [Device].
type Option func(*limits)

// WithBuffer sets the receive buffer that each connection may fill, in bytes,
// from 1 to 2^30. It is allocated as data arrives. The default is 256 KiB.
func WithBuffer(bytes int) Option { return func(l *limits) { l.buffer = bytes } }

// WithBudget sets what all receive buffers may take together, in bytes, not
// counting the first 4 KiB of each. When little of it is left, new connections get
// smaller buffers. The default is 32 MiB: full buffers for the first 120.
func WithBudget(bytes int) Option { return func(l *limits) { l.budget = bytes } }

// WithMaxConns sets how many connections may exist at once, counting dialed,
// accepted, waiting and lingering ones. The default is 1024.
func WithMaxConns(n int) Option { return func(l *limits) { l.conns = n } }

// WithBacklog sets how many connections of one listener may wait for Accept;
// the guest's next ones are refused. The default is 128.
func WithBacklog(n int) Option { return func(l *limits) { l.backlog = n } }

// WithLinger sets how long a closed connection waits for the guest to confirm
// before it is reset. The default is 8 s.
func WithLinger(d time.Duration) Option { return func(l *limits) { l.linger = d } }
