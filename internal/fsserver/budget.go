package fsserver

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// budget bounds the descriptors that a guest can make the server hold, so that
// it cannot take those that the rest of the process needs.
type budget struct {
	limit int64
	used  atomic.Int64
	log   *slog.Logger
	warn  sync.Once
}

// newBudget allows limit descriptors, or three quarters of RLIMIT_NOFILE when
// limit is zero.
func newBudget(limit int, log *slog.Logger) (*budget, error) {
	if limit == 0 {
		var r unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
			return nil, err
		}
		limit = int(min(r.Cur, 1<<30) / 4 * 3)
	}
	return &budget{limit: int64(limit), log: log}, nil
}

// open runs f, which opens a descriptor, if the budget has room. The error is
// ENFILE when it has not.
func (b *budget) open(f func() (int, error)) (int, error) {
	if b.used.Add(1) > b.limit {
		b.used.Add(-1)
		b.warn.Do(func() {
			b.log.Warn("guest uses all file descriptors of a shared directory", "limit", b.limit)
		})
		return -1, unix.ENFILE
	}
	for {
		fd, err := f()
		if err == unix.EINTR { // network file systems, on signals of the Go runtime
			continue
		}
		if err != nil {
			b.used.Add(-1)
		}
		return fd, err
	}
}

// close closes a descriptor that open returned.
func (b *budget) close(fd int) {
	unix.Close(fd)
	b.used.Add(-1)
}
