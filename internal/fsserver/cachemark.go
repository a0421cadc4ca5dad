package fsserver

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// settled is how long ago a file's last change must be to be sure that another
// one would get another time: more than the tick of any kernel's coarse clock.
const settled = 20 * time.Millisecond

// cacheMark remembers a file as it was when the guest last opened it, to tell
// whether pages that the guest kept are still good.
type cacheMark struct {
	mu    sync.Mutex
	valid bool
	size  uint64
	ctime unix.StatxTimestamp
}

// unchanged reports whether the file is as it was at the last call, and
// remembers it as it is now.
func (m *cacheMark) unchanged(st *unix.Statx_t) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	same := m.valid && m.size == st.Size && m.ctime == st.Ctime
	m.size, m.ctime = st.Size, st.Ctime
	m.valid = time.Since(time.Unix(st.Ctime.Sec, int64(st.Ctime.Nsec))) > settled
	return same
}

func (m *cacheMark) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.valid = false
}
