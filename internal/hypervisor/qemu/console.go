package qemu

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// consolePipe is how much the guest may print while nobody reads, in bytes. QEMU's
// virtio console drops what does not fit, since it cannot make a kernel wait that
// prints with its interrupts off. A kernel prints 16 bytes at a time, of which a
// socket would hold a few hundred; a pipe puts them into its pages one behind the
// other.
const consolePipe = 256 << 10

// consoleOptions connect everything that the guest prints to one pipe, whose
// writing end is the child's descriptor consoleFD: the serial port's bytes and a
// virtio console's come out in the order in which they were printed.
func consoleOptions() []string {
	return []string{
		"-add-fd", fmt.Sprintf("fd=%d,set=1", consoleFD),
		"-chardev", "file,id=console,path=/dev/fdset/1,append=on,mux=on", // append: a pipe cannot be truncated
		"-serial", "chardev:console",
	}
}

// openConsole makes that pipe. Our end can have read deadlines.
func openConsole() (ours, theirs *os.File, err error) {
	if ours, theirs, err = os.Pipe(); err != nil {
		return nil, nil, fmt.Errorf("make a console: %w", err)
	}
	raw, err := ours.SyscallConn() // Fd would make it blocking
	if err == nil {
		// Where a user's pipes hold too much already, this one stays as it is.
		err = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, consolePipe) })
	}
	if err != nil {
		ours.Close()
		theirs.Close()
		return nil, nil, fmt.Errorf("make a console: %w", err)
	}
	return ours, theirs, nil
}

// console hands what the guest prints to w. It is read even when w does not take
// it: a serial port that nobody reads stalls the guest.
func (v *vm) console(r *os.File, w io.Writer) {
	defer r.Close()
	if w != nil {
		_, err := io.Copy(w, r)
		if err == nil {
			return
		}
		v.log.Warn("console output is lost from here on", "error", err)
	}
	_, _ = io.Copy(io.Discard, r)
}
