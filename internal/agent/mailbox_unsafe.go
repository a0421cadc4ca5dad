package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// mailbox is a page of memory through which the host, which sees only physical
// addresses, tells a frozen guest how to go on.
//
// The page is locked, so it is not written out, and shared, so that no fork makes this
// process write to a copy. The kernel may still move it, to make room for large pages.
// So inPlace looks once more when all processors are occupied: the kernel's threads that
// move pages are programs as all others, and get no processor then.
type mailbox struct {
	page    []byte
	box     *box // in page
	pagemap int  // /proc/self/pagemap
	addr    uint64
	entry   uint64 // of the page in the pagemap, as inPlace read it
}

// box is what is in the page, as agentproto has it. The machines on which Holt runs are
// little endian.
type box struct {
	magic [8]byte
	state uint32
	_     uint32
	clock uint64
	seed  [agentproto.MailboxSeedSize]byte
}

// An entry of /proc/self/pagemap, which has 8 bytes for each page of this process's
// addresses (Linux, Documentation/admin-guide/mm/pagemap.rst).
const (
	pagePresent = 1 << 63
	pageFrame   = 1<<55 - 1 // the physical page's number
)

func newMailbox() (mailbox, error) {
	m := mailbox{pagemap: -1}
	var err error
	if m.page, err = unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_LOCKED|unix.MAP_POPULATE); err != nil {
		return m, fmt.Errorf("map a mailbox: %w", err)
	}
	m.box = (*box)(unsafe.Pointer(unsafe.SliceData(m.page)))
	copy(m.box.magic[:], agentproto.MailboxMagic)
	if m.pagemap, err = unix.Open("/proc/self/pagemap", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		m.close()
		return m, fmt.Errorf("open page map: %w", err)
	}
	var entry [8]byte
	if _, err := unix.Pread(m.pagemap, entry[:], m.offset()); err != nil {
		m.close()
		return m, fmt.Errorf("read page map: %w", err)
	}
	m.addr = frameOf(binary.NativeEndian.Uint64(entry[:])) * uint64(len(m.page))
	if m.addr == 0 {
		m.close()
		return m, errors.New("the kernel does not tell where a page is")
	}
	return m, nil
}

// close unmaps the page. Nothing of the seed stays in it.
func (m *mailbox) close() {
	clear(m.page)
	_ = unix.Munmap(m.page)
	if m.pagemap >= 0 {
		_ = unix.Close(m.pagemap)
	}
}

// offset is where the page's entry is in the pagemap.
//
//go:nosplit
func (m *mailbox) offset() int64 {
	return int64(uintptr(unsafe.Pointer(m.box)) / uintptr(len(m.page)) * 8)
}

// inPlace reports whether the page is where it was.
//
//go:nosplit
func (m *mailbox) inPlace() bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(m.pagemap), uintptr(unsafe.Pointer(&m.entry)), 8, uintptr(m.offset()), 0, 0)
	return errno == 0 && n == 8 && frameOf(m.entry)*uint64(len(m.page)) == m.addr
}

// frameOf returns the page frame of an entry, 0 if there is none.
//
//go:nosplit
func frameOf(entry uint64) uint64 {
	if entry&pagePresent == 0 {
		return 0
	}
	return entry & pageFrame
}
