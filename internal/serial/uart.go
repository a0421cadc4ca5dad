// Package serial is a 16550A UART (the PC16550D data sheet's registers) for a
// guest's early console: what the guest's kernel prints before it has found its
// real console, and as it dies.
//
// Sending takes no time here: the transmitter is always empty, and a baud rate is
// a number that the guest may set and read back.
package serial

import (
	"io"
	"sync"
)

const (
	fifoSize   = 64  // bytes of input that wait for the guest
	outputSize = 256 // bytes of output that wait for a newline
)

// UART is one serial port. Its methods may be called from several goroutines.
type UART struct {
	out io.Writer
	irq func()

	mu      sync.Mutex
	ier     byte
	lcr     byte
	mcr     byte
	scr     byte
	divisor [2]byte // DLL, DLM
	fifos   bool    // FCR bit 0
	thre    bool    // "transmitter empty" waits to be read from IIR
	rx      []byte  // received, not yet read: at most fifoSize
	tx      []byte  // sent, not yet written to out: less than outputSize
}

// New makes a UART as it is after a hardware reset. What the guest sends is
// written to out; errors of out are ignored, and an out that blocks holds back
// the guest. irq raises one edge of the interrupt line; it may be called from any
// method and must not call the UART.
func New(out io.Writer, irq func()) *UART {
	return &UART{
		out: out, irq: irq,
		rx: make([]byte, 0, fifoSize),
		tx: make([]byte, 0, outputSize),
	}
}

// Input is what comes in on the line. It returns how many bytes of p were taken:
// fewer than len(p) when the guest has not read what came before.
func (u *UART) Input(p []byte) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := u.receive(p)
	if n > 0 && u.ier&ierRDI != 0 {
		u.irq()
	}
	return n
}

// Flush writes to the output what waits for its line to end. It belongs at the
// machine's end: the last words of a dying kernel may have no newline.
func (u *UART) Flush() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.flush()
}

// receive puts what fits of p into the FIFO.
func (u *UART) receive(p []byte) int {
	n := min(len(p), fifoSize-len(u.rx))
	u.rx = append(u.rx, p[:n]...)
	return n
}

// send takes a byte from the guest. A kernel's console polls, with interrupts
// off: its bytes wait for a whole line, or for the kernel to set its interrupts
// again, which it does after each message. A terminal sends under interrupts;
// what it sends must show at once, for people type to it.
func (u *UART) send(b byte) {
	if u.mcr&mcrLoop != 0 {
		u.receive([]byte{b})
		if u.ier&ierRDI != 0 {
			u.irq()
		}
	} else {
		u.tx = append(u.tx, b)
		if b == '\n' || len(u.tx) == outputSize || u.ier&ierTHRI != 0 {
			u.flush()
		}
	}
	if u.ier&ierTHRI != 0 {
		u.thre = true
		u.irq()
	}
}

func (u *UART) flush() {
	if len(u.tx) > 0 {
		u.out.Write(u.tx) //nolint:errcheck // the guest's port does not know what is behind the line
		u.tx = u.tx[:0]
	}
}
