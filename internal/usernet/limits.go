package usernet

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// limits are how many sockets of the host the guest's network may have at a time.
type limits struct{ connections, flows, queries int }

// processLimits allows an eighth of the process's limit of open files at most, and
// as much as the network ever needs if that is less: its sockets must not take the
// descriptors that the rest of the process needs.
func processLimits() (limits, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return limits{}, fmt.Errorf("read the limit of open files: %w", err)
	}
	return limitsFor(int(min(r.Cur, 1<<30) / 8)), nil
}

// limitsFor divides so many descriptors.
func limitsFor(descriptors int) limits {
	const need = MaxConnections + MaxFlows + maxQueries
	part := func(most int) int { return max(most*min(descriptors, need)/need, 1) }
	return limits{part(MaxConnections), part(MaxFlows), part(maxQueries)}
}
