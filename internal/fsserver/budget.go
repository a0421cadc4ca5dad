package fsserver

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Budget bounds the descriptors that guests can make servers hold, so that they
// cannot take those that the rest of the process needs. Servers of one process
// share one. Past it a guest gets ENFILE.
type Budget struct {
	limit int64
	used  atomic.Int64
	warn  sync.Once
}

// NewBudget allows limit descriptors: one for each file that a guest's kernel
// remembers, and one for each that it has open.
func NewBudget(limit int) *Budget { return &Budget{limit: int64(limit)} }

// ProcessBudget allows three quarters of the process's limit of open files,
// which leaves room for everything else.
func ProcessBudget() (*Budget, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return nil, fmt.Errorf("read the limit of open files: %w", err)
	}
	return NewBudget(int(min(r.Cur, 1<<30) / 4 * 3)), nil
}

// budget is a server's view of a Budget.
type budget struct {
	*Budget
	log *slog.Logger
}

// open runs f, which opens a descriptor, if the budget has room. The error is
// ENFILE when it has not.
func (b *budget) open(f func() (int, error)) (int, error) {
	if b.used.Add(1) > b.limit {
		b.used.Add(-1)
		b.warn.Do(func() {
			b.log.Warn("the guest uses all file descriptors there are for shared directories", "limit", b.limit)
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

// few is how many descriptors need no preparation.
const few = 128

// prepare makes room for n more descriptors in the process's table, as far as the
// budget allows them, by a duplicate of fd that is beyond them. Otherwise the kernel
// doubles the table again and again, and waits each time for all processors to leave
// the old one: up to half a second for 10,000.
func (b *budget) prepare(fd, n int) {
	if n < few {
		return
	}
	at := min(b.used.Load()+int64(n)+few, b.limit)
	if far, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, int(at)); err == nil { // else it takes longer
		unix.Close(far)
	}
}
