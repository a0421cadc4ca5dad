package serial

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

// line is a UART with both ends of its line.
type line struct {
	*UART
	out  bytes.Buffer
	irqs int
}

func newLine() *line {
	l := new(line)
	l.UART = New(&l.out, func() { l.irqs++ })
	return l
}

// expect reads a register, the mask's bits of which must be want.
func (l *line) expect(t *testing.T, what string, reg uint8, mask, want byte) {
	t.Helper()
	if got := l.Read(reg); got&mask != want {
		t.Errorf("%s: register %d is %#02x, want %#02x in %#02x", what, reg, got, want, mask)
	}
}

// edges checks how many interrupts came since the last call.
func (l *line) edges(t *testing.T, what string, want int) {
	t.Helper()
	if l.irqs != want {
		t.Errorf("%s: %d interrupts, want %d", what, l.irqs, want)
	}
	l.irqs = 0
}

// TestAutoconfig is what Linux's 8250 driver does to find out what it has
// (drivers/tty/serial/8250/8250_port.c, autoconfig).
func TestAutoconfig(t *testing.T) {
	l := newLine()
	l.Write(regIER, 0)
	l.expect(t, "is anything there", regIER, 0x0f, 0)
	l.Write(regIER, 0x0f)
	l.expect(t, "is anything there", regIER, 0x0f, 0x0f)
	l.Write(regIER, 0x4f)
	l.expect(t, "no XScale", regIER, 0xf0, 0)
	l.Write(regIER, 0)

	l.Write(regMCR, mcrLoop|mcrOut2|mcrRTS)
	l.expect(t, "loopback", regMSR, 0xf0, msrDCD|msrCTS)
	l.Write(regMCR, mcrLoop|mcrOut1|mcrDTR)
	l.expect(t, "loopback", regMSR, 0xf0, msrRI|msrDSR)
	l.Write(regMCR, 0)

	l.Write(regIIR, 0)
	l.expect(t, "without FIFOs", regIIR, 0xff, iirNone)
	for _, lcr := range []byte{0xbf, 0x80, 0xe0} { // where extended chips have an EFR, or an EXCR1
		l.Write(regLCR, lcr)
		l.Write(regIIR, fcrEnable)
		l.expect(t, "no extended registers", regIIR, 0xff, iirFIFOs|iirNone)
	}
	l.Write(regLCR, 0)
	l.Write(regIIR, fcrEnable|1<<5)
	l.expect(t, "no 64-byte FIFO", regIIR, 0xff, iirFIFOs|iirNone)
	l.Write(regSCR, 0xa5)
	l.expect(t, "scratch", regSCR, 0xff, 0xa5)
	l.expect(t, "somebody is there", regMSR, 0xff, msrDCD|msrDSR|msrCTS)
	l.expect(t, "idle", regLSR, 0xff, lsrTHRE|lsrTEMT)
	if l.out.Len() != 0 {
		t.Errorf("finding it printed %q", &l.out)
	}
}

func TestDivisorLatch(t *testing.T) {
	l := newLine()
	l.Write(regIER, ierRDI)
	l.Write(regLCR, lcrDLAB|3)
	l.Write(0, 0x01)
	l.Write(1, 0x02)
	l.expect(t, "low", 0, 0xff, 1)
	l.expect(t, "high", 1, 0xff, 2)
	l.Write(regLCR, 3)
	l.expect(t, "line control", regLCR, 0xff, 3)
	l.expect(t, "behind the latch", regIER, 0xff, ierRDI)
	if l.Flush(); l.out.Len() != 0 {
		t.Errorf("the divisor was printed: %q", &l.out)
	}
}

func TestOtherRegisters(t *testing.T) {
	l := newLine()
	for _, reg := range []uint8{8, 9, 255} {
		l.Write(reg, 1)
		l.expect(t, "beyond", reg, 0xff, 0xff)
	}
	l.Write(regLSR, 0)
	l.Write(regMSR, 0)
	l.expect(t, "read only", regLSR, 0xff, lsrTHRE|lsrTEMT)
	l.expect(t, "read only", regMSR, 0xff, msrDCD|msrDSR|msrCTS)
}

// TestTransmitterInterrupt is Linux's test whether the interrupt comes again
// when it is enabled again (serial8250_THRE_test), then its way to send.
func TestTransmitterInterrupt(t *testing.T) {
	l := newLine()
	l.Write(regIIR, fcrEnable)
	for range 2 {
		l.Write(regIER, ierTHRI)
		l.edges(t, "enabled", 1)
		l.expect(t, "enabled", regIIR, 0x0f, iirTHRE)
		l.expect(t, "acknowledged", regIIR, 0x0f, iirNone)
		l.Write(regIER, 0)
		l.edges(t, "disabled", 0)
	}
	l.Write(regIER, ierTHRI)
	l.Write(regIER, 0)
	l.expect(t, "disabled before it was seen", regIIR, 0x0f, iirNone)

	l.irqs = 0
	l.Write(regIER, ierTHRI)
	for _, c := range []byte("a~") {
		l.edges(t, "ready to send", 1)
		l.expect(t, "ready to send", regIIR, 0x0f, iirTHRE)
		l.Write(regData, c)
	}
	l.edges(t, "sent", 1)
	if got := l.out.String(); got != "a~" {
		t.Errorf("output without a newline and under interrupts is %q", got)
	}
	l.Write(regIER, ierTHRI) // no change, what is pending stays
	l.expect(t, "sent", regIIR, 0x0f, iirTHRE)
}

func TestPolledOutput(t *testing.T) {
	l := newLine()
	long := strings.Repeat("x", outputSize)
	for _, c := range []struct {
		send, out string
		then      func()
	}{
		{send: "half a li", out: ""},
		{send: "ne\n", out: "half a line\n"},
		{send: long + "y", out: long},
		{then: l.Flush, out: "y"},
		{send: "message", then: func() { l.Write(regIER, ierRDI) }, out: "message"},
		{send: "before a snapshot", then: func() { l.SaveState() }, out: "before a snapshot"},
		{then: l.Flush, out: ""},
	} {
		for _, b := range []byte(c.send) {
			l.Write(regData, b)
		}
		if c.then != nil {
			c.then()
		}
		if got := l.out.String(); got != c.out {
			t.Errorf("after %q the output got %q, want %q", c.send, got, c.out)
		}
		l.out.Reset()
	}
	l.edges(t, "polled", 0)
}

func TestInput(t *testing.T) {
	l := newLine()
	if n := l.Input([]byte("ls")); n != 2 {
		t.Errorf("Input took %d bytes of 2", n)
	}
	l.edges(t, "interrupts are off", 0)
	l.expect(t, "interrupts are off", regIIR, 0x0f, iirNone)
	l.Write(regIER, ierRDI|ierTHRI)
	l.edges(t, "enabled with data", 1)
	l.expect(t, "data before the transmitter", regIIR, 0x0f, iirRDI)
	l.expect(t, "first", regLSR, lsrDR, lsrDR)
	l.expect(t, "first", regData, 0xff, 'l')
	l.expect(t, "second", regData, 0xff, 's')
	l.expect(t, "all read", regLSR, lsrDR, 0)
	l.expect(t, "all read", regData, 0xff, 0)
	l.expect(t, "the transmitter after the data", regIIR, 0x0f, iirTHRE)

	if n := l.Input(make([]byte, 1000)); n != fifoSize {
		t.Errorf("Input took %d bytes, want %d", n, fifoSize)
	}
	l.edges(t, "data", 1)
	if n := l.Input([]byte("more")); n != 0 {
		t.Errorf("Input took %d bytes with a full FIFO", n)
	}
	l.edges(t, "no data", 0)
	l.Write(regIIR, fcrEnable|fcrClearRX)
	l.expect(t, "cleared", regLSR, lsrDR, 0)
}

func TestLoopback(t *testing.T) {
	l := newLine()
	l.Write(regMCR, mcrLoop)
	l.Write(regIER, ierRDI)
	for range fifoSize + 10 {
		l.Write(regData, 'x')
	}
	l.irqs = 0
	n := 0
	for ; l.Read(regLSR)&lsrDR != 0; n++ {
		l.expect(t, "loopback", regData, 0xff, 'x')
	}
	if l.Flush(); n != fifoSize || l.out.Len() != 0 {
		t.Errorf("%d bytes came back, %d went out", n, l.out.Len())
	}
}

func TestConcurrentUse(t *testing.T) {
	u := New(new(bytes.Buffer), func() {})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 1000 {
				u.Write(uint8(n+i)%8, byte(n))
				u.Read(uint8(n) % 8)
				u.Input([]byte{1})
				u.Flush()
			}
		})
	}
	wg.Wait()
}
